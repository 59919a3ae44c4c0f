"""Predictions of which is known whether they are right, as the accuracy estimator is fitted on them.

Every image is judged by a head that has not seen it (cross-fitting), as it is and under rehearsed changes.

Shapes: N images, C copies of some of them, D features, K classes.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from threadpoolctl import threadpool_limits

from imageloop.embeddings.known_images import SIGNS, KnownImages
from imageloop.evenly_spaced import evenly_spaced
from imageloop.promotion.calibration import fit_temperature
from imageloop.training.logistic_head import LogisticHead
from imageloop.training.rehearsal import AS_THEY_ARE, FAMILIES, FROM_FEEDBACK, SHUFFLED, Cell
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


def judge_by_cross_fitting(
    labelled: LabelledImages, copies: Copies, num_classes: int, rehearsal_weight: float = 0.0
) -> JudgedPredictions:
    """Judge all images as they are, then their copies, by heads of the other folds with one temperature.

    `rehearsal_weight`: of all copies beside all images in the training of the head that serves. Then each copy is judged by a head that knows copies
    of the other families of changes alone: what happens later is of a kind that no copy shows.

    Raises: ValueError where all other folds have one class.
    """
    unknown_families: list[Collection[str]] = [*FAMILIES] if rehearsal_weight else [()]
    with threadpool_limits(1):  # more threads wait for each other at every small product
        folds = [_Fold(labelled, copies, num_classes, int(fold), rehearsal_weight) for fold in np.unique(labelled.folds_N)]
        heads = [[fold.head(family) for family in unknown_families] for fold in folds]
        logits_NK = np.empty((len(labelled.classes_N), num_classes), np.float32)
        for fold, of_fold in zip(folds, heads, strict=True):
            logits_NK[fold.judged] = np.mean([head.logits(labelled.embeddings_ND[fold.judged]) for head in of_fold], axis=0)
        temperature = fit_temperature(logits_NK, labelled.classes_N)
        embeddings = np.concatenate([labelled.embeddings_ND, copies.embeddings_CD])
        of = np.concatenate([np.arange(len(labelled.classes_N)), copies.of_C])
        of_data_set = len(labelled.classes_N) - labelled.num_feedback
        cells = [AS_THEY_ARE] * of_data_set + [FROM_FEEDBACK] * labelled.num_feedback + copies.cells_C
        number = {kind: number for number, family in enumerate(unknown_families) for kind in family}
        # those of no family take turns
        by = np.array([number.get(cell.kind, image % len(unknown_families)) for cell, image in zip(cells, of, strict=True)])
        signs, right = np.empty((len(of), len(SIGNS))), np.empty(len(of), bool)
        for fold, of_fold in zip(folds, heads, strict=True):
            known = fold.known()
            for place, head in enumerate(of_fold):
                rows = np.flatnonzero(fold.judged[of] & (by == place))
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


@dataclass(frozen=True)
class _Fold:
    """One fold of the images, and what the heads that judge it may know: images of the other folds, and their copies."""

    labelled: LabelledImages
    copies: Copies
    num_classes: int
    fold: int
    rehearsal_weight: float

    @property
    def judged(self) -> NDArray[np.bool_]:
        """Which images are of this fold, (N,)."""
        judged_N: NDArray[np.bool_] = self.labelled.folds_N == self.fold
        return judged_N

    @property
    def _others(self) -> NDArray[np.intp]:
        return np.flatnonzero(~self.judged & (self.labelled.weights_N > 0))

    def head(self, unknown_kinds: Collection[str]) -> LogisticHead:
        """A head that knows copies of all kinds but these, where copies train."""
        fitted = self.labelled.some(self._others[evenly_spaced(len(self._others), MAX_FITTED)])
        copied = np.empty(0, np.intp)
        if self.rehearsal_weight:
            shown = [cell.kind not in (SHUFFLED, *unknown_kinds) for cell in self.copies.cells_C]
            copied = np.flatnonzero(np.array(shown, bool) & ~self.judged[self.copies.of_C])
        return LogisticHead.fit(
            np.concatenate([fitted.embeddings_ND, self.copies.embeddings_CD[copied]]),
            np.concatenate([fitted.classes_N, self.labelled.classes_N[self.copies.of_C[copied]]]),
            self.num_classes,
            np.concatenate(
                [fitted.weights_N, np.full(len(copied), self.rehearsal_weight * len(fitted.classes_N) / max(1, len(copied)))]
            ),
        )

    def known(self) -> KnownImages:
        return known_images(self.labelled.some(self._others), self.num_classes)
