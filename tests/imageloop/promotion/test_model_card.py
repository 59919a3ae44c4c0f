"""The model card, of drawn predictions."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import yaml

from imageloop.data.prepared_images import PreparedImages
from imageloop.model.package import PackageInfo
from imageloop.promotion.evaluation import describe
from imageloop.promotion.model_card import model_card

NAMES = ["a | b", "cat\ndog"]  # a folder may have such a name


def card(backbone="efficientnet_lite0"):
    labels = np.array(NAMES)[np.arange(40) % 2]
    predicted = labels.copy()
    predicted[:8:2] = NAMES[1]  # four of the first class are wrong
    predictions = pd.DataFrame(
        {
            "sha256": [f"{n}" for n in range(40)], "path": [f"{n}.jpg" for n in range(40)], "label": labels, "width": 300, "height": 200,
            "predicted": predicted, "confidence": 0.9, "right": predicted == labels,
        }
    )  # fmt: skip
    statistics = np.random.default_rng(0).random((40, 4)).astype(np.float32)
    evaluation = describe(predictions, NAMES, statistics, milliseconds=2.0, package_bytes=10, precision="int8")
    images = predictions.assign(split=np.where(np.arange(40) < 30, "train", "test"), format="JPEG")
    info = PackageInfo(
        class_names=NAMES, side_pixels=224, preprocessing_version="1", model_kind="transfer", backbone=backbone, temperature=1.0, seed=7,
        data_version="abc123", git_commit="", run_id="run", created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    return model_card(info, evaluation, PreparedImages(images, NAMES, 224, "abc123", "raw"))


def test_a_card_says_what_the_model_is_for_and_how_good_it_is():
    head, text = card().removeprefix("---\n").split("---\n", 1)

    assert yaml.safe_load(head)["pipeline_tag"] == "image-classification"
    assert "90.0% of 40 test images, which took no part in training, are predicted right (95 % interval 76.9% to 96.0%)" in text
    assert "'a | b' is recognised least often: 80.0% of its 20 test images." in text
    assert "| efficientnet_lite0, frozen, with a linear head " in text
    assert "all of it trained" in card(backbone="")


def test_names_of_classes_do_not_break_its_tables():
    lines = [line.replace("\\|", "") for line in card().splitlines() if line.startswith("|")]

    widths = {line.count("|") for line in lines}
    assert widths == {3, 5, 6}  # of two, four and five columns
    assert "| cat dog | 15    | 0          | 5    |" in card()
