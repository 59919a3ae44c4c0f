"""Rehearsed copies as training rows of a first head, which so meets changes before they happen.

Shapes: N images, C copies of some of them, D features.
"""

import logging
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from imageloop.data.array_store import ArrayStore
from imageloop.data.prepared_images import PreparedImages, spread
from imageloop.intervals import paired_wins
from imageloop.training.features import FeatureExtractor
from imageloop.training.logistic_head import LogisticHead
from imageloop.training.rehearsed_copies import copies_of_training_images

logger = logging.getLogger(__name__)
MAX_COST = 0.005  # of accuracy on unchanged images, beyond chance
FEWEST_OF_CLASS = 16  # training images of a class, on average; of fewer a head learns the images better than their copies
MAX_ROWS, NUM_FOLDS = 2000, 4  # of the heads that are compared
FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]


def copies_that_train(
    images: PreparedImages, extractor: FeatureExtractor, store: ArrayStore, weight: float
) -> tuple[FloatArray, IntArray]:
    """Embeddings (C, D) and classes (C,) of copies of training images; none where they cost accuracy on unchanged images.

    `weight`: of all copies beside all images.
    """
    training = images.of_split("train")
    if len(training) < FEWEST_OF_CLASS * len(images.class_names):
        return np.empty((0, extractor.num_features), np.float32), np.empty(0, np.int64)
    copies_CD, of_C = copies_of_training_images(images, extractor, store)
    known = spread(training, MAX_ROWS)
    places = {key: place for place, key in enumerate(known["sha256"])}
    given = KnownWithCopies(
        extractor.extract(known["sha256"].tolist(), "plain", store),
        images.targets(known),
        copies_CD,
        images.targets(of_C),
        np.array([places.get(key, -1) for key in of_C["sha256"]], np.intp),
        len(images.class_names),
    )
    if given.cost_accuracy(weight):
        logger.warning("rehearsed copies are left out: they cost accuracy on unchanged images")
        return given.copies_CD[:0], given.copied_C[:0]
    return given.copies_CD, given.copied_C


@dataclass(frozen=True)
class KnownWithCopies:
    """Training images and copies of some of them. `of_C`: the number of the image that each is a copy of, -1 for one that is not here."""

    known_ND: FloatArray
    known_N: IntArray
    copies_CD: FloatArray
    copied_C: IntArray
    of_C: NDArray[np.intp]
    num_classes: int

    def cost_accuracy(self, weight: float) -> bool:
        """Whether the copies cost accuracy on unchanged images, by cross-fitting."""
        if any(len(np.unique(self.known_N[self._folds != fold])) < self.num_classes for fold in range(NUM_FOLDS)):
            return True  # too few images to see it
        with threadpool_limits(1):
            without_N, with_N = self._right(0.0), self._right(weight * len(self.known_N) / len(self.copied_C))
        accuracies = [100 * float(right_N.mean()) for right_N in (with_N, without_N)]
        logger.info("rehearsed copies: %.1f %% of the training images right by cross-fitting, %.1f %% without", *accuracies)
        return costs_accuracy(with_N, without_N)

    @property
    def _folds(self) -> IntArray:
        return np.arange(len(self.known_N)) % NUM_FOLDS

    def _right(self, weight: float) -> NDArray[np.bool_]:
        """Whether each image is predicted right by a head of the other folds and of their copies, (N,). `weight`: of a copy."""
        folds_C, right_N = np.where(self.of_C < 0, -1, self._folds[self.of_C]), np.zeros(len(self.known_N), bool)
        for fold in range(NUM_FOLDS):
            others, these, used = self._folds != fold, self._folds == fold, (folds_C != fold) & (weight > 0)
            head = LogisticHead.fit(
                np.concatenate([self.known_ND[others], self.copies_CD[used]]),
                np.concatenate([self.known_N[others], self.copied_C[used]]),
                self.num_classes,
                np.concatenate([np.ones(int(others.sum())), np.full(int(used.sum()), weight)]),
            )
            right_N[these] = head.logits(self.known_ND[these]).argmax(1) == self.known_N[these]
        return right_N


def costs_accuracy(with_copies_N: NDArray[np.bool_], without_N: NDArray[np.bool_]) -> bool:
    """Whether copies cost more than `MAX_COST` of the accuracy on the same unchanged images, beyond chance."""
    gains, losses = paired_wins(with_copies_N, without_N)
    return losses - gains - math.sqrt(losses + gains) > MAX_COST * len(without_N)
