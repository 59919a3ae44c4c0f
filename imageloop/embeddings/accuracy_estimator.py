"""Accuracy without labels: the probability that each prediction is right, fitted on rehearsed changes, with an interval.

Shapes: N images of a window, D features, K classes.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imageloop.atomic_files import replacing
from imageloop.embeddings.images_apart import chance_apart
from imageloop.embeddings.known_images import SIGNS, KnownImages

ESTIMATOR_FILE = "accuracy_estimator.npz"
CONFIDENCE, DISTANCE = SIGNS.index("confidence"), SIGNS.index("distance")
FARTHEST = 6.0  # standard deviations; beyond it a sign says no more
NEARER, NOVEL = 0.25, 0.5  # a quarter of the images, and the distance by which all that do not lie nearer are novel
MOST_CONFIDENCE = 0.5
UNKNOWN = 0.75  # the probability that images apart show nothing that the model knows
MAX_WIDTH = 0.6  # of an interval that still says something
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class AccuracyEstimate:
    """The estimated accuracy with its 90 % interval; `usual`: the accuracy on images such as the model was made for."""

    value: float
    low: float
    high: float
    usual: float


@dataclass(frozen=True)
class PointEstimate:
    """The estimated accuracy of a window, its binomial variance, and the window's mean distance from known images."""

    value: float
    variance: float
    distance: float


@dataclass(frozen=True)
class Spread:
    """How far estimates of rehearsed windows lay from their accuracy: a standard deviation that grows with the window's distance from known
    images, and the quantile of errors in units of it.
    """

    nearby: float
    by_distance: float
    quantile: float

    def variance(self, distance: float) -> float:
        return self.nearby**2 + (self.by_distance * max(0.0, distance)) ** 2


@dataclass(frozen=True)
class AccuracyEstimator:
    """A logistic model of the signs of a prediction and of the mean distance of its window; where all images of a window are novel, its mean with the
    confidence, for the model says too little there and confidence too much.

    `offset`: what the mean of its probabilities lacks to the accuracy on images as usual. `distances_4`: theirs, from which images that lie apart
    are distinguished (`images_apart`).
    """

    known: KnownImages
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    intercept: float
    spread: Spread
    usual: float
    offset: float
    distances_4: NDArray[np.float64]

    def estimate(self, embeddings_ND: FloatArray, probabilities_NK: FloatArray) -> AccuracyEstimate:
        """Raises: ValueError without images."""
        signs_N5 = self.known.signs(embeddings_ND, probabilities_NK)
        if not len(signs_N5):
            raise ValueError("expected one image or more, got none")
        point = self.point(signs_N5)
        half = self.spread.quantile * float(np.sqrt(point.variance + self.spread.variance(point.distance)))
        return AccuracyEstimate(point.value, max(0.0, point.value - half), min(1.0, point.value + half), self.usual)

    def point(self, signs_N5: NDArray[np.float64]) -> PointEstimate:
        """The estimate of a window from its signs, without an interval."""
        right_N, distance_N = self.right(signs_N5), signs_N5[:, DISTANCE]
        by_confidence_N = _logistic(signs_N5[:, CONFIDENCE])
        weight = float(np.clip(np.quantile(distance_N, NEARER) / NOVEL, 0, MOST_CONFIDENCE))
        estimated_N = np.clip((1 - weight) * (right_N + self.offset) + weight * by_confidence_N, 0, 1)
        apart = float((chance_apart(distance_N, self.distances_4) * estimated_N).mean())
        variance = float((right_N * (1 - right_N)).sum()) / len(right_N) ** 2 + UNKNOWN * (1 - UNKNOWN) * apart**2
        return PointEstimate(float(estimated_N.mean()) - UNKNOWN * apart, variance, float(distance_N.mean()))

    def right(self, signs_N5: NDArray[np.float64]) -> NDArray[np.float64]:
        """The probability that each prediction of a window is right, (N,)."""
        logits_N = standardised(with_window(signs_N5), self.mean, self.scale) @ self.coefficients + self.intercept
        return _logistic(logits_N)

    def write(self, folder: Path) -> None:
        spread = self.spread
        with replacing(folder / ESTIMATOR_FILE) as aside, aside.open("wb") as file:
            numbers = {
                "mean": self.mean, "scale": self.scale, "coefficients": self.coefficients, "intercept": np.array(self.intercept),
                "spread": np.array([spread.nearby, spread.by_distance, spread.quantile]), "usual": np.array(self.usual),
                "offset": np.array(self.offset), "distances": self.distances_4,
            }  # fmt: skip
            np.savez(file, allow_pickle=False, **self.known.arrays(), **numbers)

    @classmethod
    def read(cls, folder: Path) -> "AccuracyEstimator | None":
        """Read the estimator of a package, None where it has none, as those made before 0.3."""
        if not (folder / ESTIMATOR_FILE).exists():
            return None
        with np.load(folder / ESTIMATOR_FILE, allow_pickle=False) as content:
            arrays = dict(content)
        return cls(
            KnownImages.of_arrays(arrays), arrays["mean"], arrays["scale"], arrays["coefficients"], float(arrays["intercept"]),
            Spread(*map(float, arrays["spread"])), float(arrays["usual"]), float(arrays["offset"]),
            arrays.get("distances", np.full(4, np.inf)),  # of an older package: no image lies apart
        )  # fmt: skip


def _logistic(logits_N: NDArray[np.float64]) -> NDArray[np.float64]:
    probabilities_N: NDArray[np.float64] = 1 / (1 + np.exp(-logits_N))
    return probabilities_N


def with_window(signs_N5: NDArray[np.float64]) -> NDArray[np.float64]:
    """The signs of each prediction with the mean distance of all of them from known images, (N, 6): images of one window share what changed."""
    of_window_N1 = np.full((len(signs_N5), 1), signs_N5[:, DISTANCE].mean())
    return np.concatenate([signs_N5, of_window_N1], axis=1)


def standardised(rows_NS: NDArray[np.float64], mean: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    values_NS: NDArray[np.float64] = np.asarray((rows_NS - mean) / scale).clip(-FARTHEST, FARTHEST)
    return values_NS
