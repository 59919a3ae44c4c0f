"""Predictions of which is known whether they are right, as the accuracy estimator is fitted on them.

Every image is judged by a head that has not seen it (cross-fitting), as it is and under rehearsed changes.

Shapes: N images, C copies of some of them, D features, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from threadpoolctl import threadpool_limits

from imageloop.embeddings.known_images import SIGNS, KnownImages
from imageloop.evenly_spaced import evenly_spaced
from imageloop.promotion.calibration import fit_temperature
from imageloop.training.logistic_head import LogisticHead
from imageloop.training.rehearsal import AS_THEY_ARE, FROM_FEEDBACK, SHUFFLED, Cell
from imageloop.training.rehearsed_copies import Copies

NUM_FOLDS = 5
MAX_FITTED, MAX_KNOWN = 2000, 1000  # rows of a head, and known images that distances are measured to
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class LabelledImages:
    """Embeddings with their classes. Images of one fold are judged together by a head that knows none of them; `weights_N`: in its loss,
    0 for labels that are judged and train nothing. The last `num_feedback` rows are labelled predictions.
    """

    embeddings_ND: FloatArray
    classes_N: NDArray[np.int64]
    folds_N: NDArray[np.int64]
    weights_N: NDArray[np.float64]
    num_feedback: int = 0

    def some(self, rows: NDArray[np.intp]) -> "LabelledImages":
        return LabelledImages(self.embeddings_ND[rows], self.classes_N[rows], self.folds_N[rows], self.weights_N[rows])


@dataclass(frozen=True)
class JudgedPredictions:
    """Signs of predictions and whether each is right, with the class of each image and what was changed in it."""

    signs_N5: NDArray[np.float64]
    right_N: NDArray[np.bool_]
    classes_N: NDArray[np.int64]
    cells_N: list[Cell]


def known_images(labelled: LabelledImages, num_classes: int) -> KnownImages:
    """At most `MAX_KNOWN` of the images, evenly spaced."""
    rows = evenly_spaced(len(labelled.classes_N), MAX_KNOWN)
    return KnownImages.of(labelled.embeddings_ND[rows], labelled.classes_N[rows], num_classes)


def judge(
    known: KnownImages,
    embeddings_ND: FloatArray,
    probabilities_NK: FloatArray,
    classes_N: NDArray[np.int64],
    cells_N: list[Cell],
) -> JudgedPredictions:
    """Judge the predictions of a model for images that it was not fitted on. Shuffled images are none of the classes."""
    shows = np.array([cell.kind != SHUFFLED for cell in cells_N], bool)
    right_N = (probabilities_NK.argmax(1) == classes_N) & shows
    return JudgedPredictions(known.signs(embeddings_ND, probabilities_NK), right_N, classes_N, cells_N)


def judge_by_cross_fitting(labelled: LabelledImages, copies: Copies, num_classes: int) -> JudgedPredictions:
    """Judge all images as they are, then their copies, by heads of the other folds with one temperature.

    Raises: ValueError where all other folds have one class.
    """
    with threadpool_limits(1):  # more threads wait for each other at every small product
        heads = {int(fold): _without(labelled, fold, num_classes) for fold in np.unique(labelled.folds_N)}
        logits_NK = np.empty((len(labelled.classes_N), num_classes), np.float32)
        for fold, (head, _) in heads.items():
            logits_NK[labelled.folds_N == fold] = head.logits(labelled.embeddings_ND[labelled.folds_N == fold])
        temperature = fit_temperature(logits_NK, labelled.classes_N)
        embeddings = np.concatenate([labelled.embeddings_ND, copies.embeddings_CD])
        of = np.concatenate([np.arange(len(labelled.classes_N)), copies.of_C])
        of_data_set = len(labelled.classes_N) - labelled.num_feedback
        cells = [AS_THEY_ARE] * of_data_set + [FROM_FEEDBACK] * labelled.num_feedback + copies.cells_C
        signs, right = np.empty((len(of), len(SIGNS))), np.empty(len(of), bool)
        for fold, (head, known) in heads.items():
            rows = np.flatnonzero(labelled.folds_N[of] == fold)
            probabilities = softmax(head.logits(embeddings[rows]) / temperature, axis=1)
            part = judge(known, embeddings[rows], probabilities, labelled.classes_N[of[rows]], [cells[row] for row in rows])
            signs[rows], right[rows] = part.signs_N5, part.right_N
    return JudgedPredictions(signs, right, labelled.classes_N[of], cells)


def joined(parts: Sequence[JudgedPredictions]) -> JudgedPredictions:
    """One after the other."""
    return JudgedPredictions(
        np.concatenate([part.signs_N5 for part in parts]),
        np.concatenate([part.right_N for part in parts]),
        np.concatenate([part.classes_N for part in parts]),
        [cell for part in parts for cell in part.cells_N],
    )


def _without(labelled: LabelledImages, fold: int, num_classes: int) -> tuple[LogisticHead, KnownImages]:
    others = np.flatnonzero((labelled.folds_N != fold) & (labelled.weights_N > 0))
    fitted = labelled.some(others[evenly_spaced(len(others), MAX_FITTED)])
    head = LogisticHead.fit(fitted.embeddings_ND, fitted.classes_N, num_classes, fitted.weights_N)
    return head, known_images(labelled.some(others), num_classes)
