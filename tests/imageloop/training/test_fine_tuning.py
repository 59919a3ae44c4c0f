import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from imageloop.model.backbones import blocks_of, load_backbone
from imageloop.model.network import Classifier, baseline_features
from imageloop.training.augmentation import augment, augmentation, mixing
from imageloop.training.features import FeatureExtractor
from imageloop.training.loop_settings import Distillation, FineTuneLoop, Lora, NetworkLoop
from imageloop.training.optimization import Optimization, parameter_groups
from imageloop.training.settings import TrainingSettings
from imageloop.training.teacher import Teacher
from imageloop.training.trained_blocks import TrainedBlocks
from imageloop.training.trainer import train
from tests.imageloop.training.test_trainer import images_of


@pytest.fixture
def images(draw_folder, workspace):
    return images_of(draw_folder(cat=30, dog=20, fox=10), workspace, 32)


def fine_tuned(images, workspace, fine_tune=None, report=lambda row: None, **model):
    values = {"kind": "transfer", "side_pixels": 32, "fine_tune_blocks": 1, "loop": {"max_epochs": 2, "learning_rate": 1e-7}}
    values["fine_tune"] = {"max_epochs": 3, "patience_epochs": 3} | (fine_tune or {})
    return train(images, TrainingSettings.model_validate({"model": values | model}), workspace, report)


def test_adapters_change_the_last_block_alone_and_are_gone_afterwards(images, workspace):
    trained = fine_tuned(images, workspace, {"learning_rate": 1e-2}, lora={"rank": 4})

    before, after = load_backbone("efficientnet_lite0"), trained.build(workspace.backbones).features
    assert before.state_dict().keys() == after.state_dict().keys()
    moved = {name for name, value in before.state_dict().items() if not torch.equal(value, after.state_dict()[name])}
    assert moved, "trained"
    inside = {f"{id(part)}" for part in blocks_of(after)[-1].modules()}
    places = {name: f"{id(part)}" for name, part in after.named_modules()}
    assert all(places[name.removesuffix(".weight")] in inside for name in moved)


def test_merged_adapters_predict_what_they_predicted_beside_the_weights(workspace):
    torch.manual_seed(0)
    model = Classifier(load_backbone("efficientnet_lite0"), 3)
    blocks = TrainedBlocks(model, 2, Lora(rank=2))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    seen = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.inference_mode():
        beside = model.eval()(seen)
        blocks.finish()
        assert torch.allclose(model.eval()(seen), beside, atol=1e-4)
        assert not torch.allclose(Classifier(load_backbone("efficientnet_lite0"), 3).features(seen), model.features(seen))


def test_blocks_far_from_the_head_move_more_slowly():
    model = Classifier(baseline_features((4, 8, 16)), 2)

    groups = parameter_groups(model, FineTuneLoop(learning_rate=1.0, layer_decay=0.5))

    assert [group["lr"] for group in groups] == [0.5**distance for distance in range(len(groups))]
    assert groups[0]["params"] == list(model.head.parameters())
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    assert len(parameter_groups(model, FineTuneLoop())) == 1


def test_the_moving_average_is_validated_and_kept(images, workspace):
    trained = fine_tuned(images, workspace, {"ema_decay": 0.9, "learning_rate": 3e-3})
    plain = fine_tuned(images, workspace, {"learning_rate": 3e-3})

    assert [row.train_loss for row in trained.history] == [row.train_loss for row in plain.history], "the same steps"
    assert trained.history[-1].validation_loss != plain.history[-1].validation_loss


def test_an_average_moves_towards_the_weights():
    model = torch.nn.Linear(2, 2)
    first = copy.deepcopy(model.weight)
    optimization = Optimization(model, NetworkLoop(ema_decay=0.9, learning_rate=0.1), 100)

    for _ in range(20):
        optimization.step(model(torch.ones(4, 2)).sum())

    average = optimization.result.weight
    assert ((average - model.weight).abs() < (first - model.weight).abs()).all()
    assert not torch.equal(average, model.weight)
    other = Optimization(torch.nn.Linear(2, 2), NetworkLoop(ema_decay=0.9, learning_rate=0.1), 100)
    other.load_state_dict(optimization.state_dict())
    assert torch.equal(other.result.weight, average)


class _KilledError(Exception):
    pass


def test_a_fine_tuning_that_was_killed_goes_on_as_if_it_had_not_been(images, workspace, monkeypatch):
    monkeypatch.setattr("imageloop.training.checkpoint.SECONDS_BETWEEN", 0.0)
    recipe = {"ema_decay": 0.9, "mixup_alpha": 0.2, "layer_decay": 0.7}
    whole = fine_tuned(images, workspace, recipe, lora={"rank": 2})

    def killed(row):
        if row.of_images and row.epoch == 3:
            raise _KilledError

    with pytest.raises(_KilledError):
        fine_tuned(images, workspace, recipe, killed, lora={"rank": 2})
    resumed = fine_tuned(images, workspace, recipe, lora={"rank": 2})

    assert [row.train_loss for row in resumed.history] == [row.train_loss for row in whole.history]
    assert all(torch.equal(resumed.state[name], value) for name, value in whole.state.items())


@pytest.mark.parametrize("loop", [{"mixup_alpha": 0.4}, {"cutmix_alpha": 1.0}, {"mixup_alpha": 0.4, "cutmix_alpha": 1.0}])
def test_mixed_images_have_the_classes_of_both(loop):
    torch.manual_seed(0)
    bright = torch.stack([torch.full((16, 16, 3), value, dtype=torch.uint8) for value in (0, 100, 200)])
    settings = FineTuneLoop(**loop)

    for _ in range(5):
        mixed, targets = augment(bright, torch.tensor([0, 1, 2]), torch.nn.Identity(), mixing(settings, 3))
        assert targets.shape == (3, 3)
        assert torch.allclose(targets.sum(1), torch.ones(3))
        expected = targets @ torch.tensor([0.0, 100.0, 200.0])
        assert torch.allclose(mixed.float().mean((1, 2, 3)), expected, atol=1.5), (
            "the shares of the pixels are those of the classes"
        )


def test_nothing_is_mixed_by_default():
    plain = torch.zeros((2, 16, 16, 3), dtype=torch.uint8)

    _, targets = augment(plain, torch.tensor([0, 1]), augmentation(), mixing(FineTuneLoop(), 2))

    assert targets.tolist() == [0, 1]


def test_a_student_learns_what_its_teacher_predicts(images, workspace):
    rows = images.open_store(workspace.prepared).read(images.of_split("train")["sha256"].tolist()[:8])
    extractor = FeatureExtractor.of("efficientnet_lite0", 32, workspace)
    taught = train(
        images, TrainingSettings.model_validate({"model": {"kind": "transfer", "side_pixels": 32}}), workspace, lambda row: None
    )
    teacher = Teacher(taught, extractor, Distillation(teacher="efficientnet_lite0", weight=1.0), 32, workspace)
    embeddings = torch.from_numpy(extractor.run(rows))
    same = embeddings @ taught.state["head.weight"].T + taught.state["head.bias"]

    seen = torch.from_numpy(rows)
    assert teacher.loss(seen, same, torch.tensor(5.0)).item() == pytest.approx(0, abs=1e-5), "labels count nothing"
    assert teacher.loss(seen, -same, torch.tensor(5.0)).item() > 0.1
    halved = Teacher(taught, extractor, Distillation(teacher="efficientnet_lite0", weight=0.5), 32, workspace)
    assert halved.loss(seen, same, torch.tensor(5.0)).item() == pytest.approx(2.5, abs=1e-4)


def test_a_distilled_training_names_its_teacher(images, workspace, caplog):
    caplog.set_level("INFO")

    trained = fine_tuned(images, workspace, distillation={"teacher": "efficientnet_lite0"})

    assert trained.teacher.backbone == "efficientnet_lite0"
    assert 0 <= trained.teacher.validation_accuracy <= 1
    assert trained.teacher.milliseconds > 0
    assert "its teacher" in caplog.text


def test_half_precision_trains_on_images(images, workspace):
    settings = TrainingSettings.model_validate(
        {
            "model": {"kind": "baseline_cnn", "side_pixels": 32, "channels": [8, 16], "loop": {"max_epochs": 2, "batch_size": 8}},
            "precision": "bf16",
        }
    )

    half = train(images, settings, workspace, lambda row: None)
    whole = train(images, settings.model_copy(update={"precision": "fp32"}), workspace, lambda row: None)

    assert half.history[0].train_loss != whole.history[0].train_loss
    assert half.history[0].train_loss == pytest.approx(whole.history[0].train_loss, rel=0.05)
    assert all(value.dtype != torch.bfloat16 for value in half.state.values())
    assert np.isfinite(half.validation_logits_NK).all()
    assert replace(half).settings.precision == "bf16"
