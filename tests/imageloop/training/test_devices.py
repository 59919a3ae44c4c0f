"""What a GPU does as the processor does, and what it does where there is none. The first half needs one."""

import numpy as np
import pytest
import torch

from imageloop.errors import ImageLoopError
from imageloop.training import devices
from imageloop.training.checkpoint import Checkpoint
from imageloop.training.devices import device_of
from imageloop.training.features import FeatureExtractor
from imageloop.training.label_issues import find_label_issues
from imageloop.training.settings import TrainingSettings
from imageloop.training.trainer import train
from tests.imageloop.training.test_trainer import images_of

BASELINE = {"kind": "baseline_cnn", "side_pixels": 64, "channels": [8, 16], "loop": {"max_epochs": 4, "batch_size": 8}}
FINE_TUNED = {
    "kind": "transfer", "side_pixels": 64, "fine_tune_blocks": 2,
    "loop": {"max_epochs": 2, "learning_rate": 1e-7}, "fine_tune": {"max_epochs": 3, "patience_epochs": 3},
}  # fmt: skip
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that PyTorch can use")


class Killed(Exception):
    pass


@pytest.fixture
def images(draw_folder, workspace):
    return images_of(draw_folder(cat=30, dog=30), workspace, 64)


def fitted(images, workspace, model, report=lambda row: None, device="auto"):
    return train(images, TrainingSettings.model_validate({"model": model, "device": device}), workspace, report)


@needs_gpu
@pytest.mark.parametrize("model", [BASELINE, FINE_TUNED], ids=["baseline", "fine-tuned"])
def test_a_gpu_is_taken_trains_twice_alike_and_gives_a_model_for_any_machine(images, workspace, model):
    torch.cuda.reset_peak_memory_stats()

    first, second = (fitted(images, workspace, model) for _ in range(2))

    assert torch.cuda.max_memory_allocated() > 2**20
    assert [row.train_loss for row in first.history] == [row.train_loss for row in second.history]
    assert {value.device.type for value in first.state.values()} == {"cpu"}
    images_BHWC = torch.from_numpy(images.open_store(workspace.prepared).read(images.of_split("validation")["sha256"].tolist()))
    with torch.inference_mode():
        assert (
            np.abs(first.build(workspace.backbones)(images_BHWC).numpy() - first.validation_logits_NK).max() < 0.02
        )  # TF32 there, float32 here


@needs_gpu
@pytest.mark.parametrize("goes_on", ["cuda", "cpu"])
def test_a_run_interrupted_on_a_gpu_resumes_on_gpu_and_cpu(images, workspace, monkeypatch, caplog, goes_on):
    caplog.set_level("INFO")
    monkeypatch.setattr("imageloop.training.checkpoint.SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(
        "imageloop.training.trainer._Training._checkpoint", lambda self, name: Checkpoint(workspace.checkpoints, name)
    )
    whole = fitted(images, workspace, BASELINE)

    def die(row):
        if row.epoch == 2:
            raise Killed

    with pytest.raises(Killed):
        fitted(images, workspace, BASELINE, die)
    resumed = fitted(images, workspace, BASELINE, device=goes_on)

    assert "resumed after epoch 2" in caplog.text
    losses, expected = ([row.train_loss for row in one.history] for one in (resumed, whole))
    assert losses[:2] == expected[:2]
    assert len(losses) == len(expected)
    assert losses == expected or goes_on == "cpu"  # whose dropout draws otherwise


@needs_gpu
def test_features_of_a_gpu_are_those_of_the_exported_file(images, workspace):
    keys = images.table["sha256"].tolist()
    images_BHWC = images.open_store(workspace.prepared).read(keys)

    there, here = (
        FeatureExtractor.of("efficientnet_lite0", 64, workspace, device).run(images_BHWC) for device in ("cuda", "cpu")
    )

    assert np.abs(there - here).max() < 1e-4
    assert len(find_label_issues(images, "efficientnet_lite0", workspace)) < 20


@needs_gpu
def test_a_batch_that_does_not_fit_the_gpu_is_one_sentence(images, workspace, monkeypatch):
    def too_much(*arguments, **keywords):
        return torch.empty(2**50, dtype=torch.uint8, device="cuda")

    monkeypatch.setattr("imageloop.training.trainer.fit", too_much)

    with pytest.raises(ImageLoopError, match="lower the loop's batch_size"):
        fitted(images, workspace, BASELINE)


def test_a_missing_gpu_is_refused_where_one_is_configured(monkeypatch):
    monkeypatch.setattr(devices, "_is_usable", lambda: False)

    with pytest.raises(ImageLoopError, match=r"set training\.device=cpu"):
        device_of("cuda")
    assert device_of("auto") == device_of("cpu") == "cpu"


def test_an_available_gpu_is_used_by_default(monkeypatch):
    monkeypatch.setattr(devices, "_has_driver", lambda: True)
    monkeypatch.setattr(devices, "_is_usable", lambda: True)

    assert [device_of(expected) for expected in ("auto", "cuda", "cpu")] == ["cuda", "cuda", "cpu"]
