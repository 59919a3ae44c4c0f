"""A search whose trials run on a real Ray cluster."""

from dataclasses import replace

import pytest

from imageloop.execution_engine import work_on
from imageloop.training.settings import TrainingSettings
from imageloop.tuning import study
from imageloop.tuning.settings import SearchSettings
from tests.imageloop.conftest import LosesMachine
from tests.imageloop.training.test_trainer import images_of

pytestmark = pytest.mark.xdist_group("ray")
SPACE = {"backbones": ["efficientnet_lite0"], "fine_tune_blocks": [1]}


@pytest.fixture
def images(draw_folder, workspace):
    """Without the test images: a search must not need them."""
    found = images_of(draw_folder(cat=30, dog=20), workspace, 64)
    return replace(found, table=found.table[found.table["split"] != "test"].reset_index(drop=True))


def search(images, workspace, name, base=None, **given):
    settings = SearchSettings.model_validate({"space": SPACE, "fine_tune_trials": 0} | given)
    return study.search(images, base or TrainingSettings(), settings, name, workspace)


def test_a_study_goes_on_though_a_machine_dies_and_its_trials_give_what_they_give_here(
    images, workspace, ray_cluster, ray_engine
):
    here = search(images, workspace, "here", trials=2)
    joined = ray_cluster.join_and_wait()
    watched = LosesMachine(ray_engine, ray_cluster, joined, after=4)

    with work_on(lambda: watched):
        there = search(images, workspace, "there", trials=12)

    assert joined.poll() is not None
    assert sorted(watched.ended) == list(range(11))  # the first trial ran here, before the others: none twice
    assert there.completed == len(there.trials) == 12
    assert there.default.loss == here.default.loss
    assert all(trial.result.milliseconds > 0 for trial in there.trials)
    assert there.best.loss <= there.default.loss


def test_images_are_sent_where_they_are_trained_on(images, workspace, ray_engine):
    loop = {"max_epochs": 1, "batch_size": 16}
    base = TrainingSettings.model_validate({"model": {"kind": "transfer", "fine_tune": loop, "loop": {"max_epochs": 2}}})

    with work_on(lambda: ray_engine):
        found = search(images, workspace, "tuned", base, trials=1, fine_tune_trials=2)

    assert [(trial.kind, trial.state) for trial in found.trials] == [("heads", "complete"), *[("fine-tuning", "complete")] * 2]


def test_a_trial_that_fails_on_a_worker_costs_itself_alone(images, workspace, ray_engine):
    class Failing:
        """The cluster; the third trial runs out of memory."""

        is_this_process = False

        def map(self, task, items):
            for number, result in ray_engine.map(task, items):
                yield number, "MemoryError: too little" if number == 2 else result

    with work_on(Failing):
        found = search(images, workspace, "failing", trials=5)

    assert sorted(trial.state for trial in found.trials) == ["complete"] * 4 + ["fail"]
