"""What labelled predictions give a head when the camera changes, on real photographs, where there are some."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFilter

from imageloop.data.image_statistics import NAMES as STATISTICS
from imageloop.data.image_statistics import image_statistics
from imageloop.data.preprocessing import preprocess
from imageloop.data.settings import Limits
from imageloop.embeddings.drift_samples import with_typical
from imageloop.embeddings.novelty import Novelty
from imageloop.embeddings.same_scene import scene_distance
from imageloop.training.drift_augmentation import fit_drift
from imageloop.training.feedback_data import FeedbackData, select_feedback
from imageloop.training.settings import DriftAugmentation, FeedbackSettings

NAMES = ["cat", "dog"]


@pytest.fixture(scope="module")
def drift(photographs, exported_backbones):
    """Features and classes: 500 taught, 300 blurred and labelled, 200 blurred and 200 plain ones that nobody learns from."""
    from imageloop.training.features import Backbone, FeatureExtractor, exported_backbone

    backbone = exported_backbone("efficientnet_lite0", 224, exported_backbones)
    extractor = FeatureExtractor([Backbone(backbone, exported_backbones)])
    folders = [sorted((photographs / "catsdogs" / name).glob("*.jpg")) for name in NAMES]
    files = [file for pair in zip(*folders, strict=True) for file in pair][:1000]
    targets = np.array([NAMES.index(file.parent.name) for file in files])

    def seen(chosen, *, blurred: bool) -> np.ndarray:
        contents = [_blurred(file.read_bytes()) if blurred else file.read_bytes() for file in chosen]
        return np.stack([preprocess(content, 224, Limits(min_side_pixels=8)) for content in contents])

    def features(chosen, *, blurred: bool) -> np.ndarray:
        return extractor.run(seen(chosen, blurred=blurred))

    return {
        "describe": extractor.run,
        "pixels": (seen(files[:500], blurred=False), seen(files[500:800], blurred=True)),
        "taught": (features(files[:500], blurred=False), targets[:500]),
        "met": (features(files[500:800], blurred=True), targets[500:800]),
        "new": (features(files[800:], blurred=True), targets[800:]),
        "old": (features(files[800:], blurred=False), targets[800:]),
    }


def _blurred(content: bytes) -> bytes:
    out = io.BytesIO()
    Image.open(io.BytesIO(content)).convert("RGB").filter(ImageFilter.GaussianBlur(3)).save(out, "JPEG", quality=90)
    return out.getvalue()


def fitted(*parts):
    from sklearn.linear_model import LogisticRegression

    rows, targets = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    scale = float(np.linalg.norm(rows, axis=1).mean())
    model = LogisticRegression(C=10.0, max_iter=300).fit(rows / scale, targets)
    return lambda features: model.predict_proba(features / scale)


def accuracy(model, part) -> float:
    return float((model(part[0]).argmax(1) == part[1]).mean())


def labelled(drift, *, poisoned: bool = False) -> pd.DataFrame:
    embeddings, targets = drift["met"]
    predictions = fitted(drift["taught"])(embeddings)
    ground_truth = 1 - targets if poisoned else targets
    return pd.DataFrame(
        {
            "request_id": [f"{n:032x}" for n in range(len(targets))], "time": np.arange(float(len(targets))), "sha256": [f"image {n}" for n in range(len(targets))],
            "label": [NAMES[n] for n in predictions.argmax(1)], "confidence": predictions.max(1), "ground_truth": [NAMES[n] for n in ground_truth], "feedback_source": "http",
            "feedback_time": np.arange(float(len(targets))), "first_time": np.arange(float(len(targets))), "model_version": "1", "embedding": [row.astype(np.float16).tobytes() for row in embeddings],
        }
    )  # fmt: skip


def gathered(drift, table: pd.DataFrame) -> FeedbackData:
    known = drift["taught"]
    table = with_typical(table, Novelty.of(known[0], len(NAMES), known[1]))
    return select_feedback(table, table.head(0), known, NAMES, ("net", 224), FeedbackSettings(), scene_distance(*known))


def test_labelled_predictions_recover_the_accuracy_lost_to_drift(drift):
    feedback = gathered(drift, labelled(drift))
    before = fitted(drift["taught"])
    after = fitted(drift["taught"], *[feedback.rows("train", NAMES)] * 4)

    assert feedback.suspicion(FeedbackSettings()) is None
    assert feedback.labelled["scene"].nunique() > 295  # of 300 different photographs
    assert (feedback.labelled["role"] == "quarantined").mean() < 0.15
    assert accuracy(before, drift["new"]) < accuracy(before, drift["old"]) - 0.02
    assert accuracy(after, drift["new"]) >= accuracy(before, drift["new"]) + 0.01
    assert accuracy(after, drift["old"]) >= accuracy(before, drift["old"]) - 0.015


def test_drift_augmentation_recovers_accuracy_without_labels(drift):
    known, met = drift["pixels"]
    times = image_statistics(met).mean(0) / image_statistics(known).mean(0)
    change = fit_drift(known[::10], DriftAugmentation(**dict(zip(STATISTICS, times.round(3).tolist(), strict=True))))
    before = fitted(drift["taught"])
    after = fitted(drift["taught"], (drift["describe"](change.apply(known)), drift["taught"][1]))

    assert change.blur_pixels > 0.5
    assert accuracy(after, drift["new"]) >= accuracy(before, drift["new"]) + 0.01
    assert accuracy(after, drift["old"]) >= accuracy(before, drift["old"]) - 0.015


def test_swapped_labels_are_detected_as_poisoned(drift):
    feedback = gathered(drift, labelled(drift, poisoned=True))

    assert "may be poisoned" in feedback.suspicion(FeedbackSettings())
    assert (feedback.labelled["role"] == "quarantined").mean() > 0.9
