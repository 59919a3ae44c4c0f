"""When a retraining trains the last blocks on retained images."""

import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from imageloop.data.prepared_images import PreparedImages
from imageloop.errors import ImageLoopError
from imageloop.lifecycle.feedback_images import ImagesByRequest, images_that_judge, images_that_train
from imageloop.lifecycle.last_blocks import FEWEST_IMAGES, embedded_by, right_without_image, with_last_blocks
from imageloop.records.retained_images import ImageRetention, folder_of, identity_of, make_identity
from imageloop.training.feedback_data import COLUMNS, FeedbackData, with_image
from imageloop.training.retraining_ladder import LABELS, RECALIBRATED, Ladder, Rung
from imageloop.training.settings import FeedbackSettings

SIDE = 32
ROLES = ("train", "train", "train", "validation", "held_back")
SETTINGS = FeedbackSettings(deployment="default/pets", fine_tune_minutes=3)
SHORT = Ladder([Rung(RECALIBRATED, 0.6, 0.5, 0.7, 0.9)], RECALIBRATED, 80, "more labels", falls_short=True)


def labels(count: int) -> pd.DataFrame:
    rows = {
        "request_id": [f"{number:032x}" for number in range(count)], "time": np.arange(count), "label": "cat", "model_version": "3",
        "ground_truth": ["cat", "dog"] * (count // 2), "role": [ROLES[number % len(ROLES)] for number in range(count)],
        "scene": [f"s{number}" for number in range(count)], "reason": "", "retained": False,
    }  # fmt: skip
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.assign(evaluates=table["role"] == "held_back")


@pytest.fixture
def retained(workspace, tmp_path):
    """Images of the first requests of `labels`, half of which wait for their ground truth."""
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)).save(out, "PNG")

    def keep(count: int) -> ImagesByRequest:
        records = tmp_path / "records"
        retention = ImageRetention(folder_of(records), make_identity(identity_of(workspace.keys)), 9, lambda: None)
        for number, request_id in enumerate(labels(100)["request_id"].head(count)):
            retention.keep(request_id, "cat", out.getvalue(), for_labelling=number % 2 == 0)
        return ImagesByRequest.of(records, workspace)

    return keep


def feedback(ladder: Ladder | None, head: np.ndarray | None = None) -> FeedbackData:
    return FeedbackData(
        labels(100), pd.DataFrame({"request_id": [], "scene": []}), "efficientnet_lite0", SIDE, ladder=ladder, head=head
    )


def test_the_last_blocks_follow_a_head_that_falls_short(retained):
    found = with_last_blocks(feedback(SHORT, np.zeros((2, 3))), SETTINGS, retained(90))

    assert (found.ladder.chosen, found.ladder.num_images, found.ladder.advice) == (LABELS, 72, "")
    assert (found.deployment, found.fine_tune_minutes, found.head) == ("default/pets", 3, None)
    assert "chosen: labels, then the last blocks on 72 retained images" in found.ladder.sentence()
    assert with_image(found.of_role("held_back"))["request_id"].tolist() == labels(90)["request_id"][4::5].tolist()
    assert found.of_role("validation")["retained"].all()
    assert len(found.of_role("train")) == 62  # two labels that validated have no image


@pytest.mark.parametrize(
    ("ladder", "settings", "images"),
    [
        (replace(SHORT, falls_short=False), SETTINGS, 90),
        (SHORT, SETTINGS, FEWEST_IMAGES),  # a fifth of them is held back
        (SHORT, SETTINGS.model_copy(update={"fine_tune_minutes": 0.0}), 90),
        (None, SETTINGS, 0),
    ],
)
def test_the_last_blocks_need_a_reason_images_and_time(retained, ladder, settings, images):
    found = with_last_blocks(feedback(ladder), settings, retained(images))

    assert found.ladder == ladder
    assert found.deployment == ""
    assert images_that_train(found, ["cat", "dog"], SIDE, retained(0)) is None
    assert images_that_judge(found, SIDE, retained(0)) is None


def test_images_are_decrypted_in_the_order_of_their_labels(retained):
    images = retained(90)
    found = with_last_blocks(feedback(None), SETTINGS, images)

    training = images_that_train(found, ["cat", "dog"], SIDE, images)
    held_back, recent = images_that_judge(found, SIDE, images)

    assert training.train_TSSC.shape == (54, SIDE, SIDE, 3)
    assert training.train_T.tolist() == [
        ("cat", "dog").index(name) for name in with_image(found.of_role("train"))["ground_truth"]
    ]
    assert (len(training.validation_VSSC), len(held_back.images_NSSC), len(recent.rows)) == (18, 18, 0)
    assert found.ladder.sentence() == "trained on 72 retained images"


def test_an_image_that_is_gone_or_was_encrypted_for_another_key_is_an_error(retained, workspace, tmp_path):
    images = retained(2)
    first, second = labels(2)["request_id"]
    images.held[second].file.unlink()

    with pytest.raises(ImageLoopError, match="removed meanwhile; run the retraining again"):
        replace(images, held={first: images.held[first]}).read([second], SIDE)
    make_identity(tmp_path / "other.key")
    with pytest.raises(ImageLoopError, match="use the key that it was encrypted for"):
        replace(images, identity=tmp_path / "other.key").read([first], SIDE)
    assert replace(images, identity=tmp_path / "none.key").known([first]) == []
    assert ImagesByRequest.of(None, workspace).known([first]) == []


def test_right_predictions_without_an_image_count_in_the_share_that_is_held_back():
    assert right_without_image(labels(100), labels(20), held_back=0.3) == 12  # of 80 labels half are right


def test_predictions_of_trained_blocks_get_the_features_of_the_frozen_backbone(retained, workspace, exported_backbones):
    images = PreparedImages(pd.DataFrame(), ["cat", "dog"], SIDE, "d1", "raw")
    found, others = embedded_by("efficientnet_lite0", [labels(10), labels(2)], images, retained(4), workspace)

    assert found["request_id"].tolist() == labels(4)["request_id"].tolist()
    assert others["embedding"].tolist() == found["embedding"].tolist()[:2]
    assert len({row for row in found["embedding"]}) == 1  # the same image
    assert len(np.frombuffer(found["embedding"].iloc[0], np.float16)) == 1280
