import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch

from imageloop.data.catalog import read_catalog
from imageloop.data.catalog_schema import content_hash
from imageloop.data.ingestion import prepared_store
from imageloop.data.prepared_images import PreparedImages, prepare
from imageloop.data.settings import Limits, SplitSettings
from imageloop.data.splits import split_catalog
from imageloop.errors import ImageLoopError
from imageloop.model.backbones import blocks_of, load_backbone
from imageloop.model.network import Classifier, baseline_features
from imageloop.training.features import Backbone, FeatureExtractor, exported_backbone
from imageloop.training.feedback_data import FeedbackData
from imageloop.training.feedback_images import FeedbackImages, training_images
from imageloop.training.label_issues import find_label_issues
from imageloop.training.settings import TrainingSettings
from imageloop.training.trainer import train

TINY = {"kind": "baseline_cnn", "side_pixels": 32, "channels": [8, 16], "loop": {"max_epochs": 3, "batch_size": 8}}


def images_of(folder, workspace, side) -> PreparedImages:
    store = prepared_store(workspace.prepared, side)
    catalog = split_catalog(read_catalog(folder, "folder", store, side, Limits()), None, SplitSettings(), 3)
    return prepare(catalog, workspace.prepared, side, content_hash(catalog), folder)


@pytest.fixture
def images(draw_folder, workspace):
    return images_of(draw_folder(cat=30, dog=20, fox=10), workspace, 32)


def test_the_baseline_overfits_one_batch(workspace, draw_folder):
    folder = draw_folder(cat=8, dog=8)
    rows = np.stack([np.asarray(image) for image in _open_all(folder)])
    images_BHWC, targets = torch.from_numpy(rows), torch.tensor([0] * 8 + [1] * 8)
    torch.manual_seed(0)
    model = Classifier(baseline_features((8, 16)), 2)
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)

    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(model(images_BHWC), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    assert loss.item() < 0.05


def _open_all(folder):
    from PIL import Image

    return [Image.open(path).resize((32, 32)) for path in sorted(folder.rglob("*.png"))]


def test_the_baseline_trains_twice_alike_and_can_be_built_again(images, workspace):
    settings = TrainingSettings.model_validate({"model": TINY})

    first, second = (train(images, settings, workspace, lambda row: None) for _ in range(2))

    assert [row.train_loss for row in first.history] == [row.train_loss for row in second.history]
    assert torch.equal(first.build(workspace.backbones).head.weight, second.build(workspace.backbones).head.weight)
    assert first.validation_logits_NK.shape == (6, 3)


def test_transfer_keeps_features_and_does_not_compute_them_twice(images, workspace, caplog):
    caplog.set_level("INFO")
    settings = TrainingSettings.model_validate({"model": {"kind": "transfer", "side_pixels": 32, "loop": {"max_epochs": 3}}})

    trained = train(images, settings, workspace, lambda row: None)
    caplog.clear()
    train(images, settings, workspace, lambda row: None)

    assert trained.head_only
    assert set(trained.state) == {"head.weight", "head.bias"}
    assert "features of images" not in caplog.text


def test_features_of_onnx_are_those_of_torch_and_a_damaged_backbone_is_made_again(images, workspace, tmp_path):
    folder = Path(shutil.copytree(workspace.backbones, tmp_path / "backbones"))
    file = exported_backbone("efficientnet_lite0", 32, folder)
    keys = images.table["sha256"].tolist()[:4]
    images_BHWC = torch.from_numpy(images.open_store(workspace.prepared).read(keys))
    with torch.inference_mode():
        expected = load_backbone("efficientnet_lite0")(images_BHWC).mean((2, 3)).numpy()

    found = FeatureExtractor([Backbone(file, workspace.features)]).extract(keys, "plain", images.open_store(workspace.prepared))
    file.write_bytes(b"damaged")

    assert np.abs(expected - found).max() < 1e-4
    assert exported_backbone("efficientnet_lite0", 32, folder).stat().st_size > 10**6


def test_fine_tuning_moves_the_last_block_and_nothing_before_it(images, workspace):
    model = {
        "kind": "transfer",
        "side_pixels": 32,
        "fine_tune_blocks": 1,
        "loop": {"max_epochs": 2, "learning_rate": 1e-7},  # so that there is something left to learn
        "fine_tune": {"max_epochs": 6, "patience_epochs": 6},
    }

    trained = train(images, TrainingSettings.model_validate({"model": model}), workspace, lambda row: None)

    before, after = load_backbone("efficientnet_lite0"), trained.build(workspace.backbones).features
    moved = [not _same(old, new) for old, new in zip(blocks_of(before), blocks_of(after), strict=True)]
    assert moved == [False] * (len(moved) - 1) + [True]
    assert torch.equal(before.network.network.bn1.running_mean, after.network.network.bn1.running_mean)
    assert len(trained.history) == 8


def test_fine_tuning_that_only_harms_is_discarded(images, workspace):
    model = {"kind": "transfer", "side_pixels": 32, "fine_tune_blocks": 1, "loop": {"max_epochs": 5}}
    model["fine_tune"] = {"max_epochs": 2, "learning_rate": 3.0}
    epochs = []

    trained = train(images, TrainingSettings.model_validate({"model": model}), workspace, epochs.append)

    assert trained.head_only
    assert [row.epoch for row in epochs] == [row.epoch for row in trained.history] == list(range(7))
    assert trained.best_epoch < 5


def feedback_on(images, workspace, rows) -> tuple[FeedbackData, FeedbackImages]:
    """Labelled predictions for images of the data set, mirrored: their features, and the images themselves."""
    pixels = images.open_store(workspace.prepared).read(rows["sha256"].tolist())[:, :, ::-1]
    extractor = FeatureExtractor.of("efficientnet_lite0", 32, workspace)
    validates = np.arange(len(rows)) % 4 == 0
    table = pd.DataFrame(
        {
            "request_id": rows["sha256"], "ground_truth": rows["label"], "role": np.where(validates, "validation", "train"),
            "embedding": [row.astype(np.float16).tobytes() for row in extractor.run(np.ascontiguousarray(pixels))], "retained": True,
        }
    )  # fmt: skip
    found = FeedbackImages(pixels[~validates], images.targets(rows)[~validates], pixels[validates])
    return FeedbackData(table, pd.DataFrame(), "efficientnet_lite0", 32, fine_tune_minutes=5), found


@pytest.mark.parametrize("with_images", [True, False])
def test_images_of_labelled_predictions_train_the_last_blocks(images, workspace, with_images):
    model = {
        "kind": "transfer",
        "side_pixels": 32,
        "loop": {"max_epochs": 2, "learning_rate": 1e-7},
        "fine_tune": {"max_epochs": 3},
    }
    feedback, seen = feedback_on(images, workspace, images.of_split("train").head(20))
    settings = TrainingSettings.model_validate({"model": model})

    trained = train(images, settings, workspace, lambda row: None, feedback, seen if with_images else None)

    assert trained.head_only is not with_images
    assert len(trained.validation_targets_N) == len(images.of_split("validation")) + 5 == len(trained.validation_logits_NK)
    if with_images:
        before, after = load_backbone("efficientnet_lite0"), trained.build(workspace.backbones).features
        moved = [not _same(old, new) for old, new in zip(blocks_of(before), blocks_of(after), strict=True)]
        assert moved == [False] * (len(moved) - 2) + [True] * 2


def test_a_network_from_scratch_is_trained_on_images_of_labelled_predictions_too(images, workspace):
    feedback, seen = feedback_on(images, workspace, images.of_split("train").head(20))

    trained = train(images, TrainingSettings.model_validate({"model": TINY}), workspace, lambda row: None, feedback, seen)

    assert len(trained.validation_targets_N) == len(images.of_split("validation")) + 5 == len(trained.validation_logits_NK)


def test_images_of_labelled_predictions_stand_beside_those_of_the_data_set(images, workspace):
    store, keys = images.open_store(workspace.prepared), images.of_split("train")["sha256"].tolist()[:3]
    extra = FeedbackImages(
        np.full((2, 32, 32, 3), [[[[7]]], [[[9]]]], np.uint8), np.array([2, 1]), np.zeros((0, 32, 32, 3), np.uint8)
    )

    targets, read = training_images(store, keys, np.array([0, 1, 0]), extra, times=4)

    assert targets.tolist() == [0, 1, 0, 2, 1, 2, 1]
    found = read([4, 0, 5, 2])
    assert [image[0, 0, 0] for image in found[[0, 2]]] == [9, 7]
    assert np.array_equal(found[[1, 3]], store.read([keys[0], keys[2]]))


def _same(left, right):
    return all(torch.equal(a, b) for a, b in zip(left.state_dict().values(), right.state_dict().values(), strict=True))


@pytest.mark.parametrize("name", ["resnet18", "regnety_002"])
def test_a_backbone_is_as_it_was_downloaded_and_each_of_its_blocks_can_be_trained(name, monkeypatch):
    network = timm.create_model(name)
    weights = {key: value.clone() for key, value in network.state_dict().items()}
    monkeypatch.setattr("timm.create_model", lambda name, **_: network)

    features = load_backbone(name)

    assert all(torch.equal(value, weights[key]) for key, value in features.network.network.state_dict().items())
    assert not features.training
    assert all(any(True for _ in block.parameters()) for block in blocks_of(features))


def test_an_unknown_backbone_is_refused_by_name():
    with pytest.raises(ImageLoopError, match="expected efficientnet_lite0"):
        load_backbone("resnet_999")


def test_weights_that_cannot_be_downloaded_are_one_sentence(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    with pytest.raises(ImageLoopError, match="no way to download"):
        load_backbone("resnet18")


def test_turned_round_labels_are_found(draw_folder, workspace):
    folder = draw_folder(cat=30, dog=30)
    for index in range(2):
        (folder / "cat" / f"{index}.png").rename(folder / "dog" / f"wrong{index}.png")
    images = images_of(folder, workspace, 32)

    issues = find_label_issues(images, "efficientnet_lite0", workspace)

    alone = images.table["label"].replace({"cat": "fox"}).where(images.table.index == 0, images.table["label"])
    one_fox = replace(images, table=images.table.assign(label=alone), class_names=["cat", "dog", "fox"])
    assert "fox" not in set(find_label_issues(one_fox, "efficientnet_lite0", workspace)["label"])
    wrong = set(images.table.loc[images.table["split"] != "test", "path"]) & {"dog/wrong0.png", "dog/wrong1.png"}
    assert wrong <= set(issues.head(4)["path"])


def test_a_folder_around_the_images_is_passed_through_when_they_are_decoded_again(draw_folder, workspace):
    folder = draw_folder("whole/images", cat=10, dog=10).parent
    (folder / "README.txt").touch()
    store = prepared_store(workspace.prepared, 32)
    catalog = split_catalog(read_catalog(folder, "folder", store, 32, Limits()), None, SplitSettings(), 3)

    assert len(prepare(catalog, workspace.prepared, 48, "v", folder).table) == 20


def test_missing_images_are_an_error_with_a_remedy(draw_folder, workspace):
    folder = draw_folder(cat=10, dog=10)
    store = prepared_store(workspace.prepared, 32)
    catalog = split_catalog(read_catalog(folder, "folder", store, 32, Limits()), None, SplitSettings(), 3)
    (folder / "cat" / "0.png").unlink()

    with pytest.raises(ImageLoopError, match="--no-cache"):
        prepare(catalog, workspace.prepared, 48, "v", folder)
