"""Compare what a retraining can do before it does it: each rung of the ladder is judged by labels that it was not fitted on.

From the least change of the model to the largest: other thresholds between the classes, a head on labels, a head on labels and on rehearsed
copies of known images. The one with the highest expected accuracy is chosen. Where it falls short of the usual accuracy, the last blocks of the
backbone may be trained after it, on images that were retained: what that gives is known afterwards, by held-back labels.

Shapes: N labelled predictions, M known images, U images as usual, C copies, D features, K classes.
"""

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from imageloop.evenly_spaced import evenly_spaced
from imageloop.intervals import wilson
from imageloop.training.logistic_head import LABEL_WEIGHT, LogisticHead
from imageloop.training.recalibration import recalibrated
from imageloop.training.rehearsed_head import costs_accuracy

AS_IT_IS, RECALIBRATED, LABELS, WITH_COPIES = "as it is", "recalibrated", "labels", "labels and rehearsed copies"
NUM_FOLDS = 4
MAX_ROWS = 800  # known images, and labels, that the compared heads are fitted on: they predict a gain, and do not serve
COPIES_WEIGHT = 0.5  # of all copies beside all images
LEAST_GAIN = 0.02  # of twice as many labels; with less, more labels do not help
EXPECTED_LOSS = 0.05  # of the usual accuracy: with less, nothing has to be done
FEWEST_NEW = 20  # labels that judge the champion
FEWEST_OF_CLASS, NUM_CLASSES = 3, 3
FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Rung:
    """What one way to retrain is expected to give, by cross-fitting: accuracy on labelled predictions, and on images as usual."""

    name: str
    accuracy: float
    low: float
    high: float
    unchanged: float


@dataclass(frozen=True)
class Ladder:
    """The rungs that were compared on `num_labels` labels, held-back ones aside, the chosen one, and what else would help where that is not enough.

    `falls_short`: the chosen one is expected to stay clearly below the usual accuracy. `num_images`: retained ones on which the last blocks are
    trained after it; 0 where they are not.
    """

    rungs: list[Rung]
    chosen: str
    num_labels: int
    advice: str = ""
    falls_short: bool = False
    num_images: int = 0

    @classmethod
    def of_dict(cls, values: dict[str, Any]) -> Self:
        return cls(**values | {"rungs": [Rung(**rung) for rung in values["rungs"]]})

    def sentence(self) -> str:
        """Every rung with its accuracy, the chosen one, and the advice."""
        if not self.rungs:
            return f"trained on {self.num_images} retained images"
        blocks = f"the last blocks on {self.num_images} retained images" if self.num_images else ""
        rungs = ", ".join(f"{rung.name} {rung.accuracy:.0%}" for rung in self.rungs)
        chosen = f"{self.chosen}, then {blocks}" if blocks else self.chosen
        return f"expected by {self.num_labels} labels: {rungs}; chosen: {chosen}" + (f"; {self.advice}" if self.advice else "")


@dataclass(frozen=True)
class LadderInput:
    """What the rungs are fitted on and judged by. `usual`: the champion's accuracy on its test images.

    Labels of one scene are in one fold. `trains_N`: labels that may train; contradicted ones judge alone. `new_N`: labels that the champion
    cannot have been trained on.
    """

    labels_ND: FloatArray
    classes_N: IntArray
    folds_N: IntArray
    trains_N: NDArray[np.bool_]
    new_N: NDArray[np.bool_]
    known_MD: FloatArray
    known_M: IntArray
    unchanged_UD: FloatArray
    unchanged_U: IntArray
    copies_CD: FloatArray
    copies_C: IntArray
    champion: LogisticHead
    class_names: list[str]
    usual: float

    def fit(self, name: str, rows: NDArray[np.intp]) -> LogisticHead:
        """The head of a rung, fitted on these labels.

        Raises: ValueError where all rows have one class.
        """
        if name == AS_IT_IS:
            return self.champion
        if name == RECALIBRATED:
            return recalibrated(self.champion, self.labels_ND[rows], self.classes_N[rows])
        labels, known = rows[evenly_spaced(len(rows), MAX_ROWS)], evenly_spaced(len(self.known_M), MAX_ROWS)
        parts = [(self.known_MD[known], self.known_M[known], 1.0), (self.labels_ND[labels], self.classes_N[labels], LABEL_WEIGHT)]
        if name == WITH_COPIES:
            weight = COPIES_WEIGHT * len(known) / max(1, len(self.copies_C))
            parts.append((self.copies_CD, self.copies_C, weight))
        rows_ND, classes, weights = zip(*parts, strict=True)
        weights_N = np.concatenate([np.full(len(some), weight) for some, weight in zip(classes, weights, strict=True)])
        return LogisticHead.fit(np.concatenate(rows_ND), np.concatenate(classes), len(self.class_names), weights_N)

    @property
    def knows_champion(self) -> bool:
        """Whether enough labels are new to the champion to judge it."""
        return int(self.new_N.sum()) >= FEWEST_NEW

    @property
    def judging(self) -> NDArray[np.intp]:
        """The numbers of the labels that judge: those that are new to the champion, or all where these are too few."""
        return np.flatnonzero(self.new_N) if self.knows_champion else np.arange(len(self.classes_N))

    def right_by_cross_fitting(self, name: str, share: float = 1.0) -> NDArray[np.bool_]:
        """Whether each judging label is predicted by the rung fitted on the labels of the other folds, or on a share of these."""
        right_N = np.zeros(len(self.classes_N), bool)
        for fold in np.unique(self.folds_N):
            others, these = np.flatnonzero((self.folds_N != fold) & self.trains_N), np.flatnonzero(self.folds_N == fold)
            head = self.fit(name, others[evenly_spaced(len(others), max(2, round(share * len(others))))])
            right_N[these] = _right(head, self.labels_ND[these], self.classes_N[these])
        return right_N[self.judging]


def compare_rungs(given: LadderInput) -> Ladder:
    """Judge every rung by cross-fitting, choose one, and advise where it is not enough.

    Raises: ValueError where all images have one class.
    """
    of_champion = [AS_IT_IS, RECALIBRATED] if given.knows_champion else []
    names = [*of_champion, LABELS] + ([WITH_COPIES] if len(given.copies_C) else [])
    with threadpool_limits(1):
        right = {name: given.right_by_cross_fitting(name) for name in names}
        training = np.flatnonzero(given.trains_N)
        unchanged = {name: _right(given.fit(name, training), given.unchanged_UD, given.unchanged_U) for name in names}
        chosen = choose(right, unchanged)
        falls_short = float(right[chosen].mean()) < given.usual - EXPECTED_LOSS
        advice = _advice(given, chosen, right[chosen]) if falls_short else ""
    rungs = [_rung(name, right[name], unchanged[name]) for name in names]
    return Ladder(rungs, chosen, len(given.judging), advice, falls_short)


def choose(right: dict[str, NDArray[np.bool_]], unchanged: dict[str, NDArray[np.bool_]]) -> str:
    """Choose what is right most often, of equals the larger change; copies only where they cost next to nothing on images as usual.

    `right`: whether each rung predicts each label, (N,); `unchanged`: each image as usual, (U,).
    """
    names = [name for name in right if name != AS_IT_IS]
    if WITH_COPIES in names and costs_accuracy(unchanged[WITH_COPIES], unchanged[LABELS]):
        names.remove(WITH_COPIES)
    return max(reversed(names), key=lambda name: float(right[name].mean()))


def _advice(given: LadderInput, chosen: str, right_N: NDArray[np.bool_]) -> str:
    """What a person can do where the expected accuracy stays clearly below the usual one."""
    expected = float(right_N.mean())
    gain = expected - float(given.right_by_cross_fitting(chosen, share=0.5).mean())
    classes = _hardest_classes(given, right_N)
    if gain < LEAST_GAIN:
        return (
            f"more labels of these images hardly help (half of them give {expected - gain:.0%}): train the last blocks on labelled images "
            f"(images export, then training.model.fine_tune_blocks=2){classes}"
        )
    return (
        f"twice as many labels may give about {min(1.0, expected + gain):.0%} (half of them give {expected - gain:.0%}){classes}"
    )


def _hardest_classes(given: LadderInput, right_N: NDArray[np.bool_]) -> str:
    """The classes that are recognised worst, as the end of a sentence; empty where none has enough labels."""
    classes_N = given.classes_N[given.judging]
    counts_K = np.bincount(classes_N, minlength=len(given.class_names))
    recalls_K = np.bincount(classes_N, right_N, len(given.class_names)) / np.maximum(counts_K, 1)
    order = [
        place for place in np.argsort(recalls_K, kind="stable") if counts_K[place] >= FEWEST_OF_CLASS and recalls_K[place] < 1
    ]
    named = [f"'{given.class_names[place]}' ({recalls_K[place]:.0%} of {counts_K[place]} right)" for place in order[:NUM_CLASSES]]
    return f", above all of {', '.join(named)}" if named else ""


def _rung(name: str, right_N: NDArray[np.bool_], unchanged_U: NDArray[np.bool_]) -> Rung:
    low, high = wilson(int(right_N.sum()), len(right_N))
    return Rung(name, float(right_N.mean()), low, high, float(unchanged_U.mean()) if len(unchanged_U) else math.nan)


def _right(head: LogisticHead, rows_ND: FloatArray, classes_N: IntArray) -> NDArray[np.bool_]:
    right_N: NDArray[np.bool_] = head.logits(rows_ND).argmax(1) == classes_N if len(classes_N) else np.zeros(0, bool)
    return right_N
