"""The search on drawn images, with real studies in SQLite, and one in PostgreSQL."""

import threading
import time
from dataclasses import replace

import pytest

from imageloop.errors import ImageLoopError, SettingsError
from imageloop.training.settings import TrainingSettings
from imageloop.tuning import study
from imageloop.tuning.search_report import search_report
from imageloop.tuning.search_result import SearchResult, TrialResult
from imageloop.tuning.settings import SearchSettings
from tests import servers
from tests.imageloop.training.test_trainer import images_of

SMALL = {"backbones": ["efficientnet_lite0"], "fine_tune_blocks": []}


@pytest.fixture
def images(draw_folder, workspace):
    """Without the test images: a search must not need them."""
    found = images_of(draw_folder(cat=30, dog=20, fox=10), workspace, 224)
    return replace(found, table=found.table[found.table["split"] != "test"].reset_index(drop=True))


@pytest.fixture
def search(images, workspace):
    """Run a search with these settings: search(trials=3)."""

    def run(base: TrainingSettings | None = None, model: str = "drawn", **given) -> SearchResult:
        settings = SearchSettings.model_validate({"space": SMALL} | given)
        return study.search(images, base or TrainingSettings(), settings, model, workspace)

    return run


@pytest.fixture
def quick(monkeypatch):
    """Trials that take no time: the loss is the distance of the learning rate from 0.01. Returns those that ran."""
    ran = []

    def run_trial(trial, settings, _images, _workspace, _deadline):
        ran.append(trial.number)
        rate = settings.model.loop.learning_rate
        return TrialResult(loss=abs(rate - 0.01), accuracy=0.5, milliseconds=4.0, seconds=0.0)

    monkeypatch.setattr(study, "run_trial", run_trial)
    monkeypatch.setattr(study, "know_features", lambda *_: None)
    return ran


def test_the_first_trial_is_the_training_without_a_search_and_the_winner_is_no_worse(search):
    found = search(trials=4)

    first = found.trials[0]
    assert (first.values["learning_rate"], first.values["weight_decay"], first.values["label_smoothing"]) == (3e-3, 1e-2, 0.0)
    assert found.best.loss <= found.default.loss == first.result.loss
    assert 0 < found.best.accuracy <= 1
    assert found.best.milliseconds > 0
    assert found.settings.model.side_pixels == (None if found.winner == "heads 0" else 224)  # the default is left as it was given
    assert len(found.trials) == 4
    assert "history of heads" in found.charts
    assert all(chart.startswith(b"\x89PNG") for chart in found.charts.values())
    assert SearchResult.of_dict(found.as_dict()) == replace(found, charts={})
    assert f"{found.winner}&#x27; won" in search_report(found)


def test_joined_backbones_are_searched_with_the_side_of_the_images(search):
    joined = "efficientnet_lite0+efficientnet_lite1"
    found = search(trials=3, space={"backbones": [joined], "fine_tune_blocks": []})

    assert {trial.values["backbone"] for trial in found.trials} <= {"efficientnet_lite0", joined}


def test_fine_tuning_follows_the_heads_and_begins_with_the_usual_rate(search):
    loop = {"max_epochs": 1, "batch_size": 16}
    base = TrainingSettings.model_validate({"model": {"kind": "transfer", "fine_tune": loop, "loop": {"max_epochs": 2}}})
    found = search(base, trials=1, fine_tune_trials=1, space=SMALL | {"fine_tune_blocks": [1]})

    tuned = found.trials[1]
    assert (tuned.kind, tuned.state) == ("fine-tuning", "complete")
    usual = {"lora_rank": 0, "mixup_alpha": 0.0, "layer_decay": 1.0, "ema_decay": 0.0}
    assert tuned.values == usual | {"fine_tune_learning_rate": 1e-4, "fine_tune_blocks": 1}


def test_a_search_goes_on_where_it_was_cut_off(search, quick):
    search(trials=5)
    found = search(trials=12)

    assert quick == list(range(12))
    assert found.completed == 12
    drawn = [trial.values["learning_rate"] for trial in found.trials]
    assert len(set(drawn)) == len(drawn)  # a search that goes on draws other values
    assert abs(found.settings.model.loop.learning_rate - 0.01) < 0.007  # it began at 0.003
    assert search(trials=3).completed == 12  # no trial more
    assert set(found.charts) == {"history of heads", "importance, heads", "accuracy and time"}


def test_a_budget_shorter_than_one_trial_gives_the_training_without_a_search(search, quick):
    found = search(trials=30, minutes=1e-6)

    assert quick == [0]
    assert found.winner == "heads 0"


def test_another_space_has_a_study_of_its_own_and_none_of_another_name(search, quick):
    first = search(trials=2)
    assert search(trials=2, space=SMALL | {"label_smoothing": [0, 0.1]}).study != first.study
    search(trials=2, study="mine")

    with pytest.raises(
        SettingsError, match=r"study 'mine' was begun with, got others; name another study, or leave search\.study unset"
    ):
        search(trials=2, study="mine", space=SMALL | {"label_smoothing": [0, 0.1]})


def test_two_searches_on_one_study_share_its_trials(search, quick, monkeypatch):
    monkeypatch.setattr(study, "study_charts", lambda _: {})  # Matplotlib draws in one thread alone

    def slow(*arguments):
        time.sleep(0.05)
        return counted(*arguments)

    counted, study.run_trial = study.run_trial, slow
    others = [threading.Thread(target=search, kwargs={"trials": 12}) for _ in range(2)]
    for other in others:
        other.start()
    for other in others:
        other.join()

    assert len(quick) == len(set(quick))
    assert 12 <= len(quick) <= 13  # both may begin the last one


def test_trials_without_memory_are_passed_over_and_nothing_but_failures_ends_the_search(search, quick, monkeypatch):
    run_trial = study.run_trial

    def sometimes(trial, *rest):
        if trial.number in (1, 2):
            raise MemoryError
        return run_trial(trial, *rest)

    monkeypatch.setattr(study, "run_trial", sometimes)
    found = search(trials=3)
    assert [trial.state for trial in found.trials] == ["complete", "fail", "fail", "complete", "complete"]

    monkeypatch.setattr(study, "run_trial", lambda *_: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(ImageLoopError, match="expected trials that end, got 3 failures in a row"):
        search(trials=3, seed=8)


def test_what_is_too_slow_does_not_win(search, quick):
    with pytest.raises(
        ImageLoopError, match=r"expected a trial that ends within max_milliseconds, got none of 3; raise search\.max"
    ):
        search(trials=3, max_milliseconds=1)


def test_a_network_from_scratch_is_not_searched(search):
    with pytest.raises(SettingsError, match=r"training\.model\.kind: expected transfer for a search, got baseline_cnn"):
        search(TrainingSettings.model_validate({"model": {"kind": "baseline_cnn"}}))


@pytest.mark.parametrize("url", ["postgresql+psycopg://loop:secret@127.0.0.1:1/studies", "oracle://somewhere", "no url"])
def test_a_database_that_does_not_respond_is_named_without_its_password(search, url):
    with pytest.raises(ImageLoopError, match="expected Optuna's database at") as caught:
        search(storage=url)

    assert "secret" not in str(caught.value)


def test_a_study_in_postgresql(search, quick, tmp_path):
    with servers.postgresql(tmp_path) as url:
        assert search(trials=4, storage=url).completed == 4
        assert search(trials=6, storage=url).completed == 6

    assert quick == list(range(6))


def test_ranges_from_high_to_low_are_refused():
    with pytest.raises(ValueError, match=r"expected learning_rate from the lowest to the highest value, got 0\.1, 0\.01"):
        SearchSettings.model_validate({"space": {"learning_rate": [0.1, 0.01]}})
