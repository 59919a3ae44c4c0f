"""A training on images by several processes of a real Ray cluster."""

import logging
import threading

import pytest
import torch

from imageloop.errors import ImageLoopError
from imageloop.execution_engine import work_on
from imageloop.training.settings import TrainingSettings
from imageloop.training.trainer import train
from tests.imageloop.training.test_trainer import images_of

pytestmark = pytest.mark.xdist_group("ray")


@pytest.fixture
def images(draw_folder, workspace):
    return images_of(draw_folder(cat=40, dog=24), workspace, 64)


def settings(workers, **loop):
    fine_tune = {"max_epochs": 3, "batch_size": 15, "learning_rate": 1e-3, "patience_epochs": 9} | loop
    model = {"kind": "transfer", "side_pixels": 64, "fine_tune_blocks": 1, "fine_tune": fine_tune, "loop": {"max_epochs": 2}}
    return TrainingSettings.model_validate({"model": model, "workers": workers, "device": "cpu"})


def run(images, workspace, engine, workers=2, **loop):
    """The trained model, and the epochs on images as they were reported."""
    reported = []
    with work_on(lambda: engine):
        model = train(images, settings(workers, **loop), workspace, reported.append)
    return model, [row for row in reported if row.of_images]


def test_two_processes_train_what_one_trains(images, workspace, ray_cluster, ray_engine, caplog):
    caplog.set_level(logging.INFO, "imageloop")
    alone = train(images, settings(1), workspace, lambda _: None)
    joined = ray_cluster.join_and_wait()

    together, reported = run(images, workspace, ray_engine)

    ray_cluster.kill(joined)
    assert "processes of the Ray cluster that train together: 2" in caplog.text
    assert [row.epoch for row in reported] == [row.epoch for row in alone.history[-3:]]
    for one, other in zip(alone.history[-3:], reported, strict=True):
        assert other.train_loss == pytest.approx(one.train_loss, rel=1e-3)
        assert other.validation_loss == pytest.approx(one.validation_loss, rel=1e-3)
    assert alone.state.keys() == together.state.keys()
    for name, value in alone.state.items():
        assert torch.allclose(value.float(), together.state[name].float(), atol=2e-3), name


def test_a_training_goes_on_though_a_machine_dies(images, workspace, ray_cluster, ray_engine, caplog):
    caplog.set_level(logging.INFO, "imageloop")
    joined = ray_cluster.join_and_wait()
    died_after = []

    def report(row):
        if row.of_images and not died_after:
            died_after.append(row.epoch)
            threading.Thread(target=ray_cluster.kill, args=[joined]).start()

    rows = []
    with work_on(lambda: ray_engine):
        model = train(images, settings(2, max_epochs=12), workspace, lambda row: (rows.append(row), report(row)))

    on_images = [row.epoch for row in rows if row.of_images]
    assert joined.poll() is not None
    sizes = [record.args[0] for record in caplog.records if "train together" in record.msg]
    assert (sizes[0], sizes[-1]) == (2, 1)
    assert on_images == list(range(on_images[0], on_images[0] + 12))  # none twice
    assert model.history[-1].epoch == on_images[-1]
    assert not list(workspace.checkpoints.glob("*.pt"))


def test_an_error_of_the_training_is_the_error_of_the_command(images, workspace, ray_engine):
    with pytest.raises(ImageLoopError, match="expected a loss that falls"):
        run(images, workspace, ray_engine, learning_rate=1e30)
