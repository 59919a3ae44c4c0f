"""What a package is worth, measured with the exported files through `Predictor`: what serves is what is measured.

Shapes: N pictures, K classes.
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
from imageloop.data.prepared_images import PreparedPictures, in_batches, spread
from imageloop.embeddings.drift_samples import MIN_SCENES, MIN_UNSEEN, embeddings_of
from imageloop.embeddings.novelty import Familiarity
from imageloop.intervals import Interval, wilson
from imageloop.model.linear_head import answer_embeddings
from imageloop.model.package import BATCH, REFERENCE, size_bytes
from imageloop.model.predictor import Predictor
from imageloop.progress import track
from imageloop.promotion.calibration import expected_calibration_error, reliability
from imageloop.training.classification_metrics import ClassificationScores, confusion_matrix, score
from imageloop.training.features import known_features
from imageloop.training.feedback_data import Experience
from imageloop.workspace_paths import Workspace

logger = logging.getLogger(__name__)
NUM_RESAMPLES = 2000
NUM_REFERENCE_PICTURES = 400
SMALL_SIDE_PIXELS = 224  # smaller originals were enlarged


@dataclass(frozen=True)
class Slice:
    """A part of the test pictures that may fare worse than the rest."""

    name: str
    count: int
    accuracy: float
    interval: Interval


@dataclass(frozen=True)
class Evaluation:
    """`predictions`: one row a test picture (sha256, path, label, predicted, confidence, right, a column a class)."""

    class_names: list[str]
    scores: ClassificationScores
    intervals: dict[str, Interval]
    calibration_error: float
    reliability: list[tuple[float, float, int]]
    confusion_KK: NDArray[np.int64]
    slices: list[Slice]
    predictions: pd.DataFrame
    milliseconds_per_picture: float
    package_bytes: int
    precision: str

    def summary(self) -> dict[str, Any]:
        """The figures as one flat table, those of each class among them."""
        return {**self.scores.flat(), **self.overall()}

    def overall(self) -> dict[str, Any]:
        """Those of all classes together, which are as many however many classes there are."""
        return {
            **self.scores.together(),
            "accuracy_low": self.intervals["accuracy"][0],
            "accuracy_high": self.intervals["accuracy"][1],
            "calibration_error": self.calibration_error,
            "milliseconds_per_picture": self.milliseconds_per_picture,
            "package_megabytes": self.package_bytes / 2**20,
            "num_test_pictures": len(self.predictions),
        }


def evaluate(predictor: Predictor, folder: Path, pictures: PreparedPictures, workspace: Workspace) -> Evaluation:
    """Answer every test picture, a batch in memory at a time, and compare with the truth."""
    table = pictures.of_split("test")
    probabilities_NK = np.empty((len(table), len(pictures.class_names)), np.float32)
    statistics_N4 = np.empty((len(table), len(NAMES)), np.float32)
    seconds, start = 0.0, 0
    batches = in_batches(pictures.open_store(workspace.prepared), table["sha256"].tolist(), BATCH)
    for images_BSSC in track(batches, "evaluate", len(table), BATCH):
        if not start:
            predictor.predict(images_BSSC[:8])  # the first run allocates
        rows, began = slice(start, start + len(images_BSSC)), time.perf_counter()
        probabilities_NK[rows] = predictor.predict(images_BSSC).probabilities
        seconds += time.perf_counter() - began
        statistics_N4[rows] = image_statistics(images_BSSC)
        start = rows.stop
    predictions = _predictions(table, probabilities_NK, pictures.class_names)
    milliseconds = 1000 * seconds / max(1, len(table))
    return describe(predictions, pictures.class_names, statistics_N4, milliseconds, size_bytes(folder), predictor.precision)


def describe(
    predictions: pd.DataFrame,
    class_names: list[str],
    statistics_N4: NDArray[np.float32],
    milliseconds: float,
    package_bytes: int,
    precision: str,
) -> Evaluation:
    """All figures that follow from the answers."""
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
        milliseconds_per_picture=milliseconds,
        package_bytes=package_bytes,
        precision=precision,
    )


def write_reference(
    predictor: Predictor, pictures: PreparedPictures, workspace: Workspace, folder: Path, experience: Experience
) -> None:
    """Keep what the model saw and said, as the served file does: pictures that it was not fitted on, and training pictures for the rest.

    A model that learnt from its service, or to see in its light, is held against the world that it learnt there: the newest answers,
    where there are some, of some scenes. Where the embeddings are known, nothing is answered again.
    """
    unseen = spread(pictures.table[pictures.table["split"] != "train"], NUM_REFERENCE_PICTURES)
    table = pd.concat([unseen, spread(pictures.of_split("train"), NUM_REFERENCE_PICTURES - len(unseen))])
    if experience.fits(predictor.info.backbone, predictor.info.side_pixels) and _are_enough(experience.recent):
        learnt = experience.labelled[experience.labelled["role"] != "quarantined"]
        reference = _recent_reference(_not_fitted_on(experience), pictures.class_names, folder)
        embeddings_ND = np.concatenate(
            [known_features(pictures, table, predictor.info.backbone, workspace), embeddings_of(learnt)]
        )
    else:
        reference, embeddings_ND = _reference(predictor, table, pictures, workspace, folder)
    reference.to_parquet(folder / REFERENCE, index=False)
    Familiarity.of(embeddings_ND, len(pictures.class_names), table["label"].to_numpy(str)).write(folder)


def _not_fitted_on(experience: Experience) -> pd.DataFrame:
    """The newest answers but those that the head was fitted on, of which it is surer than of others; all, where too few are left."""
    fitted = experience.labelled[experience.labelled["role"].isin(("train", "validation"))]
    rest = experience.recent[~experience.recent["scene"].isin(fitted["scene"])]
    return rest if _are_enough(rest) else experience.recent


def _are_enough(answers: pd.DataFrame) -> bool:
    return len(answers) >= MIN_UNSEEN and answers["scene"].nunique() >= MIN_SCENES


def _reference(
    predictor: Predictor, table: pd.DataFrame, pictures: PreparedPictures, workspace: Workspace, folder: Path
) -> tuple[pd.DataFrame, NDArray[np.float32]]:
    """Answers to pictures of the data set, and their embeddings, (N, D): the backbone's, where the file that serves holds it unchanged."""
    images_NSSC = pictures.open_store(workspace.prepared).read(table["sha256"].tolist())
    if predictor.info.backbone and predictor.precision == "fp32":
        embeddings_ND = known_features(pictures, table, predictor.info.backbone, workspace)
        probabilities_NK = answer_embeddings(folder, embeddings_ND)
    else:
        answers = predictor.predict(images_NSSC)
        embeddings_ND, probabilities_NK = answers.embeddings, answers.probabilities
    reference = _predictions(table, probabilities_NK, pictures.class_names).assign(
        split=table["split"].to_numpy(),
        format=table["format"].to_numpy(),
        embedding=list(embeddings_ND.astype(np.float16)),
        **dict(zip(NAMES, image_statistics(images_NSSC).T, strict=True)),
    )
    return reference, embeddings_ND


def _recent_reference(recent: pd.DataFrame, class_names: list[str], folder: Path) -> pd.DataFrame:
    """The same table of answers that were given, with what the new head says of them."""
    probabilities_NK = answer_embeddings(folder, embeddings_of(recent))
    table = recent.assign(path="", split="served").drop(columns="label").assign(label="")
    rows = _predictions(table, probabilities_NK, class_names)
    statistics = {name: [row[name] for row in recent["statistics"]] for name in NAMES}
    vectors = [np.frombuffer(row, np.float16) for row in recent["embedding"]]
    return rows.assign(split="served", format=recent["format"].to_numpy(), embedding=vectors, **statistics)


def _predictions(table: pd.DataFrame, probabilities_NK: NDArray[np.float32], class_names: list[str]) -> pd.DataFrame:
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
    """The tenth that is darkest, brightest, most blurred, and the originals smaller than the model's input."""
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
