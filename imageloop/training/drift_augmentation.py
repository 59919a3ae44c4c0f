"""Drift augmentation: without labels for the changed images, the head is trained on copies of known images that reproduce the change.

Only changes of light and lens can be reproduced: brightness, contrast, colour, blur and grain. A new class or a new style cannot.

Shapes: B images, S pixels a side, D features.
"""

import hashlib
import logging
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from PIL import Image, ImageEnhance, ImageFilter

from imageloop.data.image_statistics import NAMES, image_statistics
from imageloop.data.prepared_images import PreparedImages, in_batches, spread
from imageloop.data.preprocessing import UInt8Array
from imageloop.model.package import BATCH
from imageloop.training.features import FeatureExtractor
from imageloop.training.feedback_data import COLUMNS, FeedbackData
from imageloop.training.settings import DriftAugmentation
from imageloop.workspace_paths import Workspace

logger = logging.getLogger(__name__)
ROLES = {"train": "train", "validation": "validation", "test": "held_back"}  # of a copy, by the split of its original
NUM_FITTED = 48  # images that the change is fitted on
NUM_ROUNDS = 4  # light, colour and sharpness move each other a little
NUM_HALVINGS = 7
MAX_BLUR_PIXELS, MAX_GRAIN, MAX_SATURATION = 8.0, 64.0, 4.0


@dataclass(frozen=True)
class Change:
    """The change of an image, in this order: blur (a radius in pixels) or grain (a deviation), colour, tone (gain and offset)."""

    blur_pixels: float = 0.0
    grain: float = 0.0
    saturation: float = 1.0
    gain: float = 1.0
    offset: float = 0.0

    def apply(self, images_BSSC: UInt8Array) -> UInt8Array:
        """Change images; the same images give the same copies. Shapes: (B, S, S, 3) uint8 -> the same."""
        return np.stack([self._one(image_SSC) for image_SSC in images_BSSC]) if len(images_BSSC) else images_BSSC

    def _one(self, image_SSC: UInt8Array) -> UInt8Array:
        image = Image.fromarray(image_SSC)
        if self.blur_pixels:
            image = image.filter(ImageFilter.GaussianBlur(self.blur_pixels))
        if self.saturation != 1.0:
            image = ImageEnhance.Color(image).enhance(self.saturation)
        values = np.asarray(image, np.float32)
        if self.grain:
            values = values + np.random.default_rng(0).normal(0, self.grain, (*values.shape[:2], 1)).astype(np.float32)
        return (self.gain * values + self.offset).clip(0, 255).astype(np.uint8)


def fit_drift(images_BSSC: UInt8Array, augmentation: DriftAugmentation) -> Change:
    """The change that moves the statistics of these images as `expected` says, as far as it can."""
    before = _means(images_BSSC)
    target = {name: before[name] * getattr(augmentation, name) for name in NAMES}
    change = Change()
    for _ in range(NUM_ROUNDS):
        change = _with_sharpness(images_BSSC, change, target["sharpness"])
        found = _means(change.apply(images_BSSC))
        change = replace(
            change,
            gain=change.gain * target["contrast"] / max(found["contrast"], 1e-3),
            saturation=min(MAX_SATURATION, change.saturation * target["saturation"] / max(found["saturation"], 1e-3)),
        )
        brightness = _means(change.apply(images_BSSC))["brightness"]
        change = replace(change, offset=change.offset + target["brightness"] - brightness)
    return change


def augment_with_drift(
    images: PreparedImages, recent: pd.DataFrame, backbone: str, augmentation: DriftAugmentation, workspace: Workspace
) -> FeedbackData:
    """Changed copies of the data set's images as labelled predictions: each teaches, watches or judges as its original does."""
    store, extractor = images.open_store(workspace.prepared), FeatureExtractor.of(backbone, images.side_pixels, workspace)
    sample = spread(images.of_split("train"), NUM_FITTED)
    change = fit_drift(store.read(sample["sha256"].tolist()), augmentation)
    logger.info("drift augmentation: %s", change)
    table = images.table
    embeddings = [
        row.astype(np.float16).tobytes()
        for images_BSSC in in_batches(store, table["sha256"].tolist(), BATCH)
        for row in extractor.run(change.apply(images_BSSC))
    ]
    mark = hashlib.sha256(repr(change).encode()).hexdigest()[:8]
    rows = pd.DataFrame(
        {
            "request_id": [f"{key[:24]}{mark}" for key in table["sha256"]], "time": 0.0, "sha256": table["sha256"], "scene": table["sha256"],
            "label": table["label"], "ground_truth": table["label"], "feedback_source": "drift_augmentation", "model_version": "", "embedding": embeddings,
            "role": table["split"].map(ROLES), "evaluates": table["split"] == "test", "reason": "", "quality": np.nan, "retained": False,
        }
    )  # fmt: skip
    recent = recent.assign(scene=recent["sha256"])
    return FeedbackData(rows[COLUMNS].reset_index(drop=True), recent, backbone, images.side_pixels, augmented=True)


def _with_sharpness(images_BSSC: UInt8Array, change: Change, target: float) -> Change:
    """Blur as much as it takes, or add grain where the new images are the rougher ones."""
    plain = replace(change, blur_pixels=0.0, grain=0.0)
    softer = _sharpness(images_BSSC, plain) >= target
    low, high = 0.0, MAX_BLUR_PIXELS if softer else MAX_GRAIN
    for _ in range(NUM_HALVINGS):
        middle = (low + high) / 2
        tried = replace(plain, blur_pixels=middle) if softer else replace(plain, grain=middle)
        enough = (_sharpness(images_BSSC, tried) < target) == softer
        low, high = (low, middle) if enough else (middle, high)
    amount = (low + high) / 2 if low else 0.0  # nothing at all where the least is too much
    return replace(plain, blur_pixels=amount) if softer else replace(plain, grain=amount)


def _sharpness(images_BSSC: UInt8Array, change: Change) -> float:
    return _means(change.apply(images_BSSC))["sharpness"]


def _means(images_BSSC: UInt8Array) -> dict[str, float]:
    return dict(zip(NAMES, image_statistics(images_BSSC).mean(0, dtype=np.float64).tolist(), strict=True))
