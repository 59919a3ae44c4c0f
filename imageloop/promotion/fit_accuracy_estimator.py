"""Fit the accuracy estimator on judged predictions, and measure on rehearsed windows how far its estimates lie from the accuracy.

The error for a change is measured with a model that was fitted without that change, since the next change will be another one.

Shapes: N predictions; S signs, with that of the window.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from imageloop.embeddings.accuracy_estimator import DISTANCE, AccuracyEstimator, PointEstimate, Spread, standardised, with_window
from imageloop.embeddings.images_apart import usual_distances
from imageloop.embeddings.known_images import KnownImages
from imageloop.promotion.judged_predictions import JudgedPredictions
from imageloop.training.rehearsal import AS_THEY_ARE, FEEDBACK, SHUFFLED, UNCHANGED, Cell

STRENGTH = 0.01  # of the evidence against the prior that signs say nothing: changes are few, though their copies are many
SHUFFLED_SHARES, SHUFFLED_WEIGHT = (0.1, 0.25, 0.5), 0.2
FEEDBACK_WEIGHT = 5.0  # of labelled predictions: they show what the model meets now
SIZES = (25, 50, 100, 200)  # of rehearsed windows
NUM_WINDOWS = 12  # of each cell
LEAST = 5  # predictions of a window
COVERED, NORMAL_QUANTILE = 0.95, 1.645  # of rehearsed windows by a 90 % interval: real changes differ more from each other
Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Window:
    """A rehearsed window: its accuracy, and its estimate; each kind of change has the same weight in all."""

    kind: str
    accuracy: float
    estimate: PointEstimate


def fit_accuracy_estimator(
    judged: JudgedPredictions, known: KnownImages, usual: Cell = AS_THEY_ARE, without: Collection[str] = (), seed: int = 0
) -> AccuracyEstimator:
    """Fit on all kinds of changes but those in `without`. `usual`: the cell of images as the model will see them."""
    rehearsal = _Rehearsal(judged, known, usual, _cells(judged, without), np.random.default_rng(seed))
    with threadpool_limits(1):
        estimator = rehearsal.fit()
        windows = list(rehearsal.windows())
    variance_of_usual = estimator.usual * (1 - estimator.usual) / len(rehearsal.cells[usual])
    return replace(estimator, spread=_spread_of(windows, variance_of_usual))


@dataclass(frozen=True)
class _Rehearsal:
    """What every fit and every rehearsed window needs. `cells`: the numbers of the predictions of each."""

    judged: JudgedPredictions
    known: KnownImages
    usual: Cell
    cells: dict[Cell, NDArray[np.intp]]
    rng: np.random.Generator

    def fit(self, without: str | None = None) -> AccuracyEstimator:
        """An estimator without a spread, of all cells with the same weight each but those of one kind, and of unchanged images with a
        share of shuffled ones.
        """
        from sklearn.linear_model import LogisticRegression

        signs_N5, unchanged = self.judged.signs_N5, self.cells[AS_THEY_ARE]
        parts = []
        for cell, rows in self.cells.items():
            if cell.kind not in (SHUFFLED, without):
                parts.append((rows, FEEDBACK_WEIGHT if cell.kind == FEEDBACK else 1.0))
        for rows in (rows for cell, rows in self.cells.items() if cell.kind == SHUFFLED and without != SHUFFLED):
            parts += [(self._mixed(rows, len(unchanged), share), SHUFFLED_WEIGHT) for share in SHUFFLED_SHARES]
        rows_NS = np.concatenate([with_window(signs_N5[rows]) for rows, _ in parts])
        right_N = np.concatenate([self.judged.right_N[rows] for rows, _ in parts])
        weights_N = np.concatenate([np.full(len(rows), weight * len(unchanged) / len(rows)) for rows, weight in parts])
        mean, scale = rows_NS.mean(0), rows_NS.std(0) + 1e-6
        neutral = np.zeros((2, rows_NS.shape[1]))  # a right and a wrong one, so that there are both
        values, targets = np.concatenate([standardised(rows_NS, mean, scale), neutral]), np.concatenate([right_N, [True, False]])
        model = LogisticRegression(C=STRENGTH, max_iter=500).fit(values, targets, sample_weight=np.append(weights_N, [0.5, 0.5]))
        usual, as_usual_N5 = float(self.judged.right_N[self.cells[self.usual]].mean()), signs_N5[self.cells[self.usual]]
        fitted = AccuracyEstimator(
            self.known, mean, scale, model.coef_[0], float(model.intercept_[0]), Spread(0, 0, 0), usual,
            offset=0.0, distances_4=usual_distances(as_usual_N5[:, DISTANCE]),
        )  # fmt: skip
        return replace(fitted, offset=usual - float(fitted.right(as_usual_N5).mean()))

    def windows(self) -> Iterator[_Window]:
        """Rehearsed windows of every cell, each estimated without its kind of change."""
        for kind in sorted({cell.kind for cell in self.cells}):
            estimator = self.fit(None if kind in (UNCHANGED, FEEDBACK) else kind)
            for rows in (rows for cell, rows in self.cells.items() if cell.kind == kind):
                drawn = (self._drawn(rows, kind, number) for number in range(NUM_WINDOWS))
                for some in (some for some in drawn if len(some) >= LEAST):
                    accuracy = float(self.judged.right_N[some].mean())
                    yield _Window(kind, accuracy, estimator.point(self.judged.signs_N5[some]))

    def _drawn(self, rows: NDArray[np.intp], kind: str, number: int) -> NDArray[np.intp]:
        """The predictions of one rehearsed window: of one change, every third with other shares of the classes, or with shuffled images among
        them.
        """
        size = int(self.rng.choice(SIZES))
        if kind == SHUFFLED:
            return self._mixed(rows, size, SHUFFLED_SHARES[number % len(SHUFFLED_SHARES)])
        if number % 3:
            return self.rng.choice(rows, min(size, len(rows)), replace=False)
        classes = self.rng.permutation(np.unique(self.judged.classes_N[rows]))
        frequent = np.isin(self.judged.classes_N[rows], classes[: max(1, len(classes) // 2)])
        weights = np.where(frequent, 6.0, 1.0)
        return self.rng.choice(rows, min(size, max(1, len(rows) // 2)), replace=False, p=weights / weights.sum())

    def _mixed(self, shuffled: NDArray[np.intp], size: int, share: float) -> NDArray[np.intp]:
        """Unchanged images with a share of shuffled ones."""
        unchanged, count = self.cells[AS_THEY_ARE], min(len(shuffled), max(1, int(size * share)))
        rest = min(len(unchanged), max(1, size - count))
        return np.concatenate([self.rng.choice(unchanged, rest, replace=False), self.rng.choice(shuffled, count, replace=False)])


def _spread_of(windows: list[_Window], variance_of_usual: float) -> Spread:
    """The most likely spread under normal errors, then the quantile that covers its share of the windows."""
    from scipy.optimize import minimize

    kinds = [window.kind for window in windows]
    weights = np.array([1 / kinds.count(kind) for kind in kinds])
    weights /= weights.sum()
    squares = np.array([(window.accuracy - window.estimate.value) ** 2 for window in windows])
    sampling = np.array([window.estimate.variance for window in windows]) + 1e-6
    distances = [window.estimate.distance for window in windows]

    def total(spread: Spread) -> Array:
        variances: Array = sampling + np.array([spread.variance(distance) for distance in distances])
        return variances

    def surprise(logarithms: Array) -> float:
        nearby, by_distance = np.exp(logarithms).tolist()
        variances = total(Spread(nearby, by_distance, 1.0))
        return float((weights * (np.log(variances) + squares / variances)).sum())

    nearby, by_distance = np.exp(minimize(surprise, [-3.0, -2.0], method="Nelder-Mead").x).tolist()
    errors = np.sqrt(squares / total(Spread(nearby, by_distance, 1.0)))
    order = np.argsort(errors)
    place = min(len(order) - 1, int(np.searchsorted(np.cumsum(weights[order]), COVERED)))
    quantile = max(1.0, float(errors[order][place]))
    usual = NORMAL_QUANTILE * np.sqrt(variance_of_usual) / quantile  # all rehearsed windows share the error of the usual accuracy
    return Spread(float(np.hypot(nearby, usual)), by_distance, quantile)


def _cells(judged: JudgedPredictions, without: Collection[str]) -> dict[Cell, NDArray[np.intp]]:
    """The numbers of the predictions of each cell, but those of the kinds in `without`."""
    cells = list(dict.fromkeys(judged.cells_N))
    numbers = {cell: number for number, cell in enumerate(cells)}
    numbers_N = np.array([numbers[cell] for cell in judged.cells_N])
    return {cell: np.flatnonzero(numbers_N == number) for cell, number in numbers.items() if cell.kind not in without}
