"""Write the accuracy estimator of a package: rehearse changes on its data set, judge the predictions, fit.

Shapes: N images, D features.
"""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from imageloop.data.prepared_images import PreparedImages, in_batches, in_keyed_batches, spread
from imageloop.embeddings.drift_samples import embeddings_of
from imageloop.embeddings.known_images import KnownImages
from imageloop.model.package import BATCH, PackageInfo
from imageloop.model.predictor import Predictor
from imageloop.promotion.fit_accuracy_estimator import fit_accuracy_estimator
from imageloop.promotion.judged_predictions import (
    MAX_KNOWN,
    NUM_FOLDS,
    JudgedPredictions,
    LabelledImages,
    joined,
    judge,
    judge_by_cross_fitting,
    known_images,
)
from imageloop.training.features import VIEWS, FeatureExtractor
from imageloop.training.feedback_data import FeedbackData
from imageloop.training.feedback_images import SeenImages
from imageloop.training.logistic_head import LABEL_WEIGHT
from imageloop.training.rehearsal import AS_THEY_ARE, FROM_FEEDBACK, Cell
from imageloop.training.rehearsed_copies import MAX_REHEARSED, judged_images, rehearsed_copies, views
from imageloop.workspace_paths import Workspace

logger = logging.getLogger(__name__)
LEAST_FEEDBACK = 30  # labels that show how accurate the model is on images of now
FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]


def write_accuracy_estimator(
    predictor: Predictor,
    images: PreparedImages,
    workspace: Workspace,
    folder: Path,
    feedback: FeedbackData,
    held_back: SeenImages | None = None,
) -> None:
    """Fit the estimator and write it into the package.

    With a frozen backbone every image is judged by cross-fitted heads on stored features. Else the model itself judges the images of
    validation and test, and their copies; and `held_back` labelled predictions, where its last blocks were trained on others.
    """
    if predictor.info.backbone:
        judged, known, usual = _by_cross_fitted_heads(images, workspace, feedback, predictor.info)
    else:
        judged, known = _by_the_model(predictor, images, workspace)
        usual = AS_THEY_ARE
        if held_back is not None and len(held_back.rows) >= LEAST_FEEDBACK:
            judged, usual = joined([judged, _of_feedback(predictor, known, held_back)]), FROM_FEEDBACK
    estimator = fit_accuracy_estimator(judged, known, usual)
    logger.info(
        "estimates of accuracy without labels: fitted on %d predictions of images and changed copies, usual accuracy %.1f %%",
        len(judged.right_N), 100 * estimator.usual,
    )  # fmt: skip
    estimator.write(folder)


def _by_cross_fitted_heads(
    images: PreparedImages, workspace: Workspace, feedback: FeedbackData, info: PackageInfo
) -> tuple[JudgedPredictions, KnownImages, Cell]:
    """Judge stored features of images, labelled predictions and copies; known are those that train. The cell is that of images as usual."""
    table, store = judged_images(images), images.open_store(workspace.prepared)
    extractor = FeatureExtractor.of(info.backbone, images.side_pixels, workspace)
    features_ND = extractor.extract(table["sha256"].tolist(), "plain", store)
    credible = feedback.credible() if feedback.fits(info.backbone, images.side_pixels) else feedback.labelled.head(0)
    labelled = _labelled(images, table, features_ND, credible, augmented=feedback.augmented)
    copies = rehearsed_copies(table, extractor, store)
    in_training_N = labelled.weights_N > 0
    in_training_N[: len(table)] = table["split"] == "train"
    known = known_images(labelled.some(np.flatnonzero(in_training_N)), len(images.class_names))
    usual = FROM_FEEDBACK if len(credible) >= LEAST_FEEDBACK else AS_THEY_ARE
    judged = judge_by_cross_fitting(labelled, copies, len(images.class_names), info.rehearsal_weight)
    return judged, known, usual


def _labelled(
    images: PreparedImages, table: pd.DataFrame, features_ND: FloatArray, credible: pd.DataFrame, *, augmented: bool
) -> LabelledImages:
    """Images of the data set, then labelled predictions. Images of one scene are in one fold."""
    of_images = LabelledImages(features_ND, images.targets(table), _folds(table["sha256"]), np.ones(len(table)))
    if credible.empty:
        return of_images
    places = {name: place for place, name in enumerate(images.class_names)}
    # contradicted labels count as errors of the model, and train no head
    trusted_N = credible["role"].to_numpy() != "quarantined"
    return LabelledImages(
        np.concatenate([of_images.embeddings_ND, embeddings_of(credible)]),
        np.concatenate([of_images.classes_N, credible["ground_truth"].map(places).to_numpy(np.int64)]),
        np.concatenate([of_images.folds_N, _folds(credible["scene"])]),
        np.concatenate([of_images.weights_N, trusted_N * (1.0 if augmented else LABEL_WEIGHT)]),
        len(credible),
    )


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
        found = [predictor.predict(change(some, images_BSSC)) for some, images_BSSC in in_keyed_batches(store, keys, BATCH)]
        embeddings, probabilities = (
            np.concatenate([getattr(one, name) for one in found]) for name in ("embeddings", "probabilities")
        )
        parts.append(judge(known, embeddings, probabilities, images.targets(table), cells))
    return joined(parts), known


def _of_feedback(predictor: Predictor, known: KnownImages, seen: SeenImages) -> JudgedPredictions:
    """Judge the model's predictions for labelled images that it was not trained on."""
    found = predictor.predict(seen.images_NSSC)
    places = {name: place for place, name in enumerate(predictor.info.class_names)}
    classes_N = seen.rows["ground_truth"].map(places).to_numpy(np.int64)
    return judge(known, found.embeddings, found.probabilities, classes_N, [FROM_FEEDBACK] * len(classes_N))


def _folds(keys: pd.Series) -> IntArray:
    folds_N: IntArray = np.array([int(key[:8], 16) % NUM_FOLDS for key in keys], np.int64)
    return folds_N
