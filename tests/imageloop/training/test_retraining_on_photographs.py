"""What labelled answers give a head when the camera changes, on real photographs, where there are some."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFilter

from imageloop.data.image_statistics import NAMES as STATISTICS
from imageloop.data.image_statistics import image_statistics
from imageloop.data.preprocessing import preprocess
from imageloop.data.settings import Limits
from imageloop.embeddings.scenes import scene_distance
from imageloop.training.drift_augmentation import fit_change
from imageloop.training.feedback_data import Experience, collect_feedback
from imageloop.training.settings import ExperienceSettings, Imitation

NAMES = ["cat", "dog"]


@pytest.fixture(scope="module")
def world(photographs, exported_backbones):
    """Features and classes: 500 taught, 300 blurred and labelled, 200 blurred and 200 plain ones that nobody learns from."""
    from imageloop.training.features import FeatureExtractor, exported_backbone

    backbone = exported_backbone("efficientnet_lite0", 224, exported_backbones)
    extractor = FeatureExtractor(backbone, exported_backbones)
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


def labelled(world, *, lies: bool = False) -> pd.DataFrame:
    embeddings, targets = world["met"]
    answers = fitted(world["taught"])(embeddings)
    truth = 1 - targets if lies else targets
    return pd.DataFrame(
        {
            "request_id": [f"{n:032x}" for n in range(len(targets))], "time": np.arange(float(len(targets))), "sha256": [f"picture {n}" for n in range(len(targets))],
            "label": [NAMES[n] for n in answers.argmax(1)], "confidence": answers.max(1), "true_label": [NAMES[n] for n in truth], "feedback_source": "http",
            "feedback_time": np.arange(float(len(targets))), "first_time": np.arange(float(len(targets))), "model_version": "1", "embedding": [row.astype(np.float16).tobytes() for row in embeddings],
        }
    )  # fmt: skip


def gathered(world, table: pd.DataFrame) -> Experience:
    known = world["taught"]
    return collect_feedback(table, table.head(0), known, NAMES, ("net", 224), ExperienceSettings(), scene_distance(*known))


def test_labelled_answers_bring_back_what_the_new_camera_cost(world):
    experience = gathered(world, labelled(world))
    before = fitted(world["taught"])
    after = fitted(world["taught"], *[experience.rows("train", NAMES)] * 4)

    assert experience.suspicion(ExperienceSettings()) is None
    assert experience.labelled["scene"].nunique() > 295  # of 300 different photographs
    assert (experience.labelled["role"] == "quarantined").mean() < 0.15
    assert accuracy(before, world["new"]) < accuracy(before, world["old"]) - 0.02
    assert accuracy(after, world["new"]) >= accuracy(before, world["new"]) + 0.01
    assert accuracy(after, world["old"]) >= accuracy(before, world["old"]) - 0.015


def test_copies_in_the_new_cameras_light_bring_it_back_without_a_label(world):
    known, met = world["pixels"]
    times = image_statistics(met).mean(0) / image_statistics(known).mean(0)
    change = fit_change(known[::10], Imitation(**dict(zip(STATISTICS, times.round(3).tolist(), strict=True))))
    before = fitted(world["taught"])
    after = fitted(world["taught"], (world["describe"](change.apply(known)), world["taught"][1]))

    assert change.blur_pixels > 0.5
    assert accuracy(after, world["new"]) >= accuracy(before, world["new"]) + 0.01
    assert accuracy(after, world["old"]) >= accuracy(before, world["old"]) - 0.015


def test_labels_turned_round_are_seen_through(world):
    experience = gathered(world, labelled(world, lies=True))

    assert "look poisoned" in experience.suspicion(ExperienceSettings())
    assert (experience.labelled["role"] == "quarantined").mean() > 0.9
