"""Evaluate a package through `Predictor` with the exported files, which are those that serve.

Shapes: N images, K classes.
"""

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from imageloop.data.image_statistics import NAMES, image_statistics
from imageloop.data.prepared_images import PreparedImages, in_batches
from imageloop.intervals import Interval, wilson
from imageloop.model.package import BATCH, size_bytes
from imageloop.model.predictor import Predictor
from imageloop.progress import track
from imageloop.promotion.calibration import expected_calibration_error, reliability
from imageloop.training.classification_metrics import ClassificationScores, confusion_matrix, score
from imageloop.workspace_paths import Workspace

logger = logging.getLogger(__name__)
NUM_RESAMPLES = 2000
SMALL_SIDE_PIXELS = 224  # smaller originals were enlarged


@dataclass(frozen=True)
class Slice:
    """A part of the test images with metrics of its own."""

    name: str
    count: int
    accuracy: float
    interval: Interval


@dataclass(frozen=True)
class Evaluation:
    """`predictions`: one row a test image (sha256, path, label, predicted, confidence, right, a column a class)."""

    class_names: list[str]
    scores: ClassificationScores
    intervals: dict[str, Interval]
    calibration_error: float
    reliability: list[tuple[float, float, int]]
    confusion_KK: NDArray[np.int64]
    slices: list[Slice]
    predictions: pd.DataFrame
    milliseconds_per_image: float
    package_bytes: int
    precision: str

    def summary(self) -> dict[str, Any]:
        """The metrics as one flat table, with those of each class."""
        return {**self.scores.flat(), **self.overall()}

    def overall(self) -> dict[str, Any]:
        """The metrics over all classes."""
        return {
            **self.scores.together(),
            "accuracy_low": self.intervals["accuracy"][0],
            "accuracy_high": self.intervals["accuracy"][1],
            "calibration_error": self.calibration_error,
            "milliseconds_per_image": self.milliseconds_per_image,
            "package_megabytes": self.package_bytes / 2**20,
            "num_test_images": len(self.predictions),
        }


def evaluate(predictor: Predictor, folder: Path, images: PreparedImages, workspace: Workspace) -> Evaluation:
    """Predict every test image, a batch in memory at a time, and compare with the ground truth."""
    table = images.of_split("test")
    probabilities_NK = np.empty((len(table), len(images.class_names)), np.float32)
    statistics_N4 = np.empty((len(table), len(NAMES)), np.float32)
    seconds, start = 0.0, 0
    batches = in_batches(images.open_store(workspace.prepared), table["sha256"].tolist(), BATCH)
    for images_BSSC in track(batches, "evaluate", len(table), BATCH):
        if not start:
            predictor.predict(images_BSSC[:8])  # the first run allocates
        rows, began = slice(start, start + len(images_BSSC)), time.perf_counter()
        probabilities_NK[rows] = predictor.predict(images_BSSC).probabilities
        seconds += time.perf_counter() - began
        statistics_N4[rows] = image_statistics(images_BSSC)
        start = rows.stop
    predictions = table_of(table, probabilities_NK, images.class_names)
    milliseconds = 1000 * seconds / max(1, len(table))
    return describe(predictions, images.class_names, statistics_N4, milliseconds, size_bytes(folder), predictor.precision)


def describe(
    predictions: pd.DataFrame,
    class_names: list[str],
    statistics_N4: NDArray[np.float32],
    milliseconds: float,
    package_bytes: int,
    precision: str,
) -> Evaluation:
    """All metrics that follow from the predictions."""
    places = {name: place for place, name in enumerate(class_names)}
    targets, predicted = (predictions[column].map(places).to_numpy(np.int64) for column in ("label", "predicted"))
    confidence, right = predictions["confidence"].to_numpy(np.float32), predicted == targets
    scores = score(predicted, targets, class_names)
    return Evaluation(
        class_names=class_names,
        scores=scores,
        intervals=_intervals(predicted, targets, class_names),
        calibration_error=expected_calibration_error(confidence, right),
        reliability=reliability(confidence, right),
        confusion_KK=confusion_matrix(predicted, targets, len(class_names)),
        slices=_slices(predictions, statistics_N4),
        predictions=predictions,
        milliseconds_per_image=milliseconds,
        package_bytes=package_bytes,
        precision=precision,
    )


def table_of(table: pd.DataFrame, probabilities_NK: NDArray[np.float32], class_names: list[str]) -> pd.DataFrame:
    """Rows of images with what was predicted for them, in the columns of `Evaluation.predictions`."""
    predicted = np.array(class_names)[probabilities_NK.argmax(1)]
    columns = {f"p_{name}": probabilities_NK[:, place] for place, name in enumerate(class_names)}
    rows = table[["sha256", "path", "label", "width", "height"]].reset_index(drop=True)
    return rows.assign(predicted=predicted, confidence=probabilities_NK.max(1), right=predicted == rows["label"], **columns)


def _intervals(predicted: NDArray[np.int64], targets: NDArray[np.int64], class_names: list[str]) -> dict[str, Interval]:
    """Wilson for the accuracy and each class's recall, a bootstrap for the means over classes."""
    right = predicted == targets
    intervals = {"accuracy": wilson(int(right.sum()), len(right))}
    for place, name in enumerate(class_names):
        mine = right[targets == place]
        intervals[f"{name}_recall"] = wilson(int(mine.sum()), len(mine))
    rng = np.random.default_rng(0)
    resampled = [
        score(predicted[rows], targets[rows], class_names).f1
        for rows in rng.integers(0, len(targets), (NUM_RESAMPLES // 10, len(targets)))
    ]
    intervals["f1"] = (float(np.quantile(resampled, 0.025)), float(np.quantile(resampled, 0.975)))
    return intervals


def _slices(predictions: pd.DataFrame, statistics_N4: NDArray[np.float32]) -> list[Slice]:
    """The darkest, brightest and most blurred tenth, and images smaller than the model's input."""
    if predictions.empty:
        return []
    brightness, sharpness = statistics_N4[:, 0], statistics_N4[:, 2]
    short_side = predictions[["width", "height"]].min(axis=1).to_numpy()
    members = {
        "dark": brightness <= np.quantile(brightness, 0.1),
        "bright": brightness >= np.quantile(brightness, 0.9),
        "blurred": sharpness <= np.quantile(sharpness, 0.1),
        "small": short_side < SMALL_SIDE_PIXELS,
    }
    right = predictions["right"].to_numpy()
    return [
        Slice(name, int(rows.sum()), float(right[rows].mean()), wilson(int(right[rows].sum()), int(rows.sum())))
        for name, rows in members.items()
        if rows.any()
    ]
