"""Write the accuracy estimator of a package: rehearse changes on its data set, judge the predictions, fit.

Shapes: N images, D features.
"""

import logging
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from imageloop.data.prepared_images import PreparedImages, in_batches, spread
from imageloop.embeddings.drift_samples import embeddings_of
from imageloop.embeddings.known_images import KnownImages
from imageloop.model.package import BATCH
from imageloop.model.predictor import Predictor
from imageloop.promotion.fit_accuracy_estimator import fit_accuracy_estimator
from imageloop.promotion.judged_predictions import (
    MAX_KNOWN,
    NUM_FOLDS,
    Copies,
    JudgedPredictions,
    LabelledImages,
    joined,
    judge,
    judge_by_cross_fitting,
    known_images,
)
from imageloop.training.features import VIEWS, BatchChange, FeatureExtractor
from imageloop.training.feedback_data import WEIGHT, FeedbackData
from imageloop.training.rehearsal import (
    AS_THEY_ARE,
    FROM_FEEDBACK,
    NUM_COPIES,
    REHEARSAL_VERSION,
    SHUFFLED,
    Cell,
    cells_of,
    changes,
    rehearse,
    shuffle,
)
from imageloop.workspace_paths import Workspace

logger = logging.getLogger(__name__)
MAX_REHEARSED, MAX_JUDGED = 150, 4000  # images with copies, and images as they are
LEAST_FEEDBACK = 30  # labels that show how accurate the model is on images of now
FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]


def write_accuracy_estimator(
    predictor: Predictor, images: PreparedImages, workspace: Workspace, folder: Path, feedback: FeedbackData
) -> None:
    """Fit the estimator and write it into the package.

    With a frozen backbone every image is judged by cross-fitted heads on stored features. Else the model itself judges the images of
    validation and test, and their copies.
    """
    num_classes = len(images.class_names)
    if predictor.info.backbone:
        labelled = _labelled(images, workspace, feedback, predictor.info.backbone)
        copies = _copies_of_features(images, workspace, predictor.info.backbone)
        judged, known = judge_by_cross_fitting(labelled, copies, num_classes), _known(images, labelled)
        usual = FROM_FEEDBACK if labelled.num_feedback >= LEAST_FEEDBACK else AS_THEY_ARE
        usual_N = np.array([cell == usual for cell in judged.cells_N])
    else:
        judged, known = _by_the_model(predictor, images, workspace)
        usual_N = np.array([cell == AS_THEY_ARE for cell in judged.cells_N])
    estimator = fit_accuracy_estimator(judged, known, usual_N)
    logger.info("accuracy estimator: %.1f %% as usual, of %d predictions", 100 * estimator.usual, len(judged.right_N))
    estimator.write(folder)


def _labelled(images: PreparedImages, workspace: Workspace, feedback: FeedbackData, backbone: str) -> LabelledImages:
    """Images of the data set, then labelled predictions. Images of one scene are in one fold."""
    table = spread(images.table, MAX_JUDGED)
    extractor = FeatureExtractor.of(backbone, images.side_pixels, workspace)
    known_ND = extractor.extract(images, table["sha256"].tolist(), "plain", images.open_store(workspace.prepared))
    credible = feedback.credible() if feedback.fits(backbone, images.side_pixels) else feedback.labelled.head(0)
    if credible.empty:
        return LabelledImages(known_ND, images.targets(table), _folds(table["sha256"]), np.ones(len(table)))
    places = {name: place for place, name in enumerate(images.class_names)}
    trusted_N = (
        credible["role"].to_numpy() != "quarantined"
    )  # contradicted labels count as errors of the model, and train no head
    return LabelledImages(
        np.concatenate([known_ND, embeddings_of(credible)]),
        np.concatenate([images.targets(table), credible["ground_truth"].map(places).to_numpy(np.int64)]),
        np.concatenate([_folds(table["sha256"]), _folds(credible["scene"])]),
        np.concatenate([np.ones(len(table)), trusted_N * (1.0 if feedback.augmented else WEIGHT)]),
        len(credible),
    )


def _known(images: PreparedImages, labelled: LabelledImages) -> KnownImages:
    """The training images and the labelled predictions that train."""
    in_training_N = labelled.weights_N > 0
    in_training_N[: len(in_training_N) - labelled.num_feedback] = spread(images.table, MAX_JUDGED)["split"] == "train"
    return known_images(labelled.some(np.flatnonzero(in_training_N)), len(images.class_names))


def _copies_of_features(images: PreparedImages, workspace: Workspace, backbone: str) -> Copies:
    table = spread(images.table, MAX_JUDGED)
    rows = np.linspace(0, len(table) - 1, min(MAX_REHEARSED, len(table))).astype(np.intp)
    keys = table["sha256"].iloc[rows].tolist()
    extractor, store = FeatureExtractor.of(backbone, images.side_pixels, workspace), images.open_store(workspace.prepared)
    embeddings, cells = [], []
    for name, change, changed in views(keys):
        embeddings.append(extractor.extract(images, keys, f"{name}-{REHEARSAL_VERSION}", store, change))
        cells += changed
    return Copies(np.concatenate(embeddings), np.tile(rows, len(embeddings)), cells)


def _by_the_model(predictor: Predictor, images: PreparedImages, workspace: Workspace) -> tuple[JudgedPredictions, KnownImages]:
    """Judge predictions of a model whose features were trained: for images of validation and test, whose copies it predicts too."""
    store, training = images.open_store(workspace.prepared), spread(images.of_split("train"), MAX_KNOWN)
    embeddings_ND = np.concatenate(
        [predictor.predict(batch).embeddings for batch in in_batches(store, training["sha256"].tolist(), BATCH)]
    )
    known = KnownImages.of(embeddings_ND, images.targets(training), len(images.class_names))
    table = spread(images.table[images.table["split"] != "train"], MAX_REHEARSED)
    keys, parts = table["sha256"].tolist(), []
    for _, change, cells in [("plain", VIEWS["plain"], [AS_THEY_ARE] * len(keys)), *views(keys)]:
        starts, batches = range(0, len(keys), BATCH), in_batches(store, keys, BATCH)
        found = [
            predictor.predict(change(keys[start : start + BATCH], batch)) for start, batch in zip(starts, batches, strict=True)
        ]
        embeddings, probabilities = (
            np.concatenate([getattr(one, name) for one in found]) for name in ("embeddings", "probabilities")
        )
        parts.append(judge(known, embeddings, probabilities, images.targets(table), cells))
    return joined(parts), known


def views(keys: list[str]) -> list[tuple[str, BatchChange, list[Cell]]]:
    """The copies of every image: the name, how a batch becomes them, and what was changed in each."""
    cells = list(changes())
    rehearsed = [
        (f"rehearsed-{copy}", partial(rehearse, copy=copy), [cells[cells_of(key, len(cells))[copy]] for key in keys])
        for copy in range(NUM_COPIES)
    ]
    return [*rehearsed, (SHUFFLED, shuffle, [Cell(SHUFFLED, 1)] * len(keys))]


def _folds(keys: pd.Series) -> IntArray:
    folds_N: IntArray = np.array([int(key[:8], 16) % NUM_FOLDS for key in keys], np.int64)
    return folds_N
