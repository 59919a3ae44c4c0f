"""A model of one data set and seed, as the product would have trained it on stored features, and the windows that it meets.

Shapes: N images of a window, K classes.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from benchmarks.loop.changes import CHANGES
from benchmarks.loop.features import UNCHANGED, Cell, ImageSet
from imageloop.data.splits import SPLITS
from imageloop.embeddings.accuracy_estimator import AccuracyEstimator
from imageloop.evenly_spaced import evenly_spaced
from imageloop.promotion.calibration import fit_temperature
from imageloop.promotion.fit_accuracy_estimator import fit_accuracy_estimator
from imageloop.promotion.judged_predictions import (
    NUM_FOLDS,
    JudgedPredictions,
    LabelledImages,
    judge_by_cross_fitting,
    known_images,
)
from imageloop.training.logistic_head import LogisticHead
from imageloop.training.rehearsal import NUM_COPIES
from imageloop.training.rehearsed_copies import MAX_REHEARSED, Copies
from imageloop.training.rehearsed_head import FEWEST_OF_CLASS, KnownWithCopies
from imageloop.training.settings import Transfer

FOREIGN = {"catsdogs": "antsbees", "antsbees": "flowers", "flowers": "antsbees", "signdigits": "catsdogs", "pets37": "flowers"}
# The rehearsed changes that a model must not know when it meets one of the grid.
LIKE = {
    "blur": ("blur", "pixels"),
    "noise": ("noise",),
    "darkness": ("darkness", "gamma"),
    "JPEG": ("JPEG",),
    "contrast": ("contrast",),
    "inversion": ("inversion",),
    "another camera": ("sharpness", "saturation"),
    "crop and shift": ("crop",),
}
NEW_CLASS, LABEL_SHIFT = "new class", "label shift"
SHIFTED, PARTLY = "changed, other shares of classes", "a third of them changed"  # mixes
SIZES = (25, 50, 200)
NEW_SHARES, FREQUENT_SHARES = (0.1, 0.25, 0.5), (0.7, 0.85, 1.0)  # by strength: of foreign images; of one half of the classes
FEW_IMAGES = 400  # a set of fewer gives more of them to training
SPLIT_SHARES = (0.8, 0.9, 1.0)


@dataclass(frozen=True)
class Window:
    """Predictions of one model for images under one condition; `classes_N` is -1 for images of no class.

    `mix`: what else is not usual in it. `size`: of the window as it was meant; small sets have fewer images of some classes.
    """

    change: str
    strength: int
    mix: str
    size: int
    embeddings_ND: NDArray[np.float32]
    probabilities_NK: NDArray[np.float32]
    classes_N: NDArray[np.int64]

    @property
    def accuracy(self) -> float:
        return float((self.probabilities_NK.argmax(1) == self.classes_N).mean())


class Model:
    """One model on half of a set's images (80 % train, 10 % validation, 10 % test); the other half is met later.

    Under a change its head is one that rehearsed nothing like it.
    """

    def __init__(
        self, images: ImageSet, foreign: ImageSet, seed: int, rehearsal_weight: float = Transfer().rehearsal_weight
    ) -> None:
        self.images, self.foreign, self.seed = images, foreign, seed
        self.num_classes = len(images.class_names)
        self.rng = np.random.default_rng(seed)
        self.taught, self.met = _halves(images.targets_N, self.rng)
        ends = [int(share * len(self.taught)) for share in SPLIT_SHARES]
        self.split = dict(zip(SPLITS, np.split(self.taught, ends[:-1]), strict=True))
        self._heads: dict[str, tuple[LogisticHead, float]] = {}
        self.rehearsal_weight = 0.0 if self._leaves_copies_out(rehearsal_weight) else rehearsal_weight
        self.known = known_images(self._labelled(self.split["train"]), self.num_classes)
        self.judged = self._rehearse()

    def head(self, change: str = UNCHANGED) -> tuple[LogisticHead, float]:
        """The head that rehearsed nothing like this change, and its temperature."""
        if change not in self._heads:
            plain, targets = self.images.embeddings[UNCHANGED, 0], self.images.targets_N
            training, validation = self.split["train"], self.split["validation"]
            copies, copied, _ = self.copies(LIKE.get(change, ()))
            rows, classes = np.concatenate([plain[training], copies]), np.concatenate([targets[training], copied])
            weights = np.concatenate(
                [np.ones(len(training)), np.full(len(copied), self.rehearsal_weight * len(training) / len(copied))]
            )
            used = weights > 0
            head = LogisticHead.fit(rows[used], classes[used], self.num_classes, weights[used])
            self._heads[change] = head, fit_temperature(head.logits(plain[validation]), targets[validation])
        return self._heads[change]

    def _leaves_copies_out(self, weight: float) -> bool:
        if not weight or len(self.split["train"]) < FEWEST_OF_CLASS * self.num_classes:
            return True
        training, (copies, copied, rows) = self.split["train"], self.copies(())
        places = {row: place for place, row in enumerate(training)}
        known = self.images.embeddings[UNCHANGED, 0][training], self.images.targets_N[training]
        of = np.array([places[row] for row in rows])
        return KnownWithCopies(*known, copies, copied, of, self.num_classes).cost_accuracy(weight)

    def copies(self, without: Collection[str]) -> tuple[NDArray[np.float32], NDArray[np.int64], list[int]]:
        """The copies that a package has of its training images, without some kinds, (C, D) and (C,), and the rows that they are copies of."""
        chosen = np.intersect1d(self.taught[evenly_spaced(len(self.taught), MAX_REHEARSED)], self.split["train"])
        embeddings, copied = [], []
        for view_ND, cells in zip(self.images.rehearsed[:NUM_COPIES], self.images.rehearsed_cells[:NUM_COPIES], strict=True):
            rows = [row for row in chosen if cells[row].kind not in without]
            embeddings.append(view_ND[rows])
            copied += rows
        return np.concatenate(embeddings), self.images.targets_N[copied], copied

    def predict(self, embeddings_ND: NDArray[np.float32], change: str = UNCHANGED) -> NDArray[np.float32]:
        head, temperature = self.head(change)
        probabilities: NDArray[np.float32] = softmax(head.logits(embeddings_ND) / temperature, axis=1)
        return probabilities

    def estimator(self, without: str | None) -> AccuracyEstimator:
        """An estimator that rehearsed nothing like this change."""
        return fit_accuracy_estimator(self.judged, self.known, without=LIKE.get(without or "", ()))

    def accuracy_unchanged(self) -> float:
        return self.window(self.met, (UNCHANGED, 0)).accuracy

    def window(self, rows: NDArray[np.intp], cell: Cell, *, size: int = 0, mix: str = "") -> Window:
        embeddings = self.images.embeddings[cell][rows]
        return Window(cell[0], cell[1], mix, size, embeddings, self.predict(embeddings, cell[0]), self.images.targets_N[rows])

    def windows(self, repetitions: int) -> Iterator[Window]:
        """Windows of every size under every condition: unchanged, changed, with a new class, with other shares of the classes."""
        for size in SIZES:
            for _ in range(repetitions):
                yield from (self.window(self._draw(size), cell, size=size) for cell in self.images.embeddings)
                for strength in (1, 2, 3):
                    yield self._with_new_class(size, strength)
                    yield self._with_label_shift(size, strength, (UNCHANGED, 0))
            for name in CHANGES:
                yield self._with_label_shift(size, 2, (name, 2))
                yield self._partly_changed(size, (name, 3))

    def _draw(self, size: int) -> NDArray[np.intp]:
        return self.rng.choice(self.met, min(size, len(self.met)), replace=False)

    def _with_new_class(self, size: int, strength: int) -> Window:
        rows = self._draw(size)
        count = max(1, int(len(rows) * NEW_SHARES[strength - 1]))
        known = self.window(rows[count:], (UNCHANGED, 0))
        others = self.rng.choice(len(self.foreign.targets_N), count, replace=False)
        embeddings = self.foreign.embeddings[UNCHANGED, 0][others]
        return Window(
            NEW_CLASS, strength, "", size,
            np.concatenate([known.embeddings_ND, embeddings]),
            np.concatenate([known.probabilities_NK, self.predict(embeddings)]),
            np.concatenate([known.classes_N, np.full(count, -1)]),
        )  # fmt: skip

    def _partly_changed(self, size: int, cell: Cell) -> Window:
        """As one of three cameras that broke."""
        rows = self._draw(size)
        changed, others = self.window(rows[: len(rows) // 3], cell), self.window(rows[len(rows) // 3 :], (UNCHANGED, 0))
        return Window(
            *cell, PARTLY, size,
            np.concatenate([changed.embeddings_ND, others.embeddings_ND]),
            np.concatenate([changed.probabilities_NK, self.predict(others.embeddings_ND, cell[0])]),
            np.concatenate([changed.classes_N, others.classes_N]),
        )  # fmt: skip

    def _with_label_shift(self, size: int, strength: int, cell: Cell) -> Window:
        """One half of the classes makes up most of the window; it is smaller where the set has too few images of these."""
        share, targets = FREQUENT_SHARES[strength - 1], self.images.targets_N[self.met]
        frequent = np.isin(targets, self.rng.permutation(self.num_classes)[: max(1, self.num_classes // 2)])
        count = int(min(size, frequent.sum() / share))
        many = self.rng.choice(self.met[frequent], int(count * share), replace=False)
        few = self.rng.choice(self.met[~frequent], min(count - len(many), int((~frequent).sum())), replace=False)
        window = self.window(np.concatenate([many, few]), cell, size=size, mix=SHIFTED)
        return window if cell[1] else replace(window, change=LABEL_SHIFT, strength=strength, mix="")

    def _labelled(self, rows: NDArray[np.intp]) -> LabelledImages:
        plain, targets = self.images.embeddings[UNCHANGED, 0], self.images.targets_N
        return LabelledImages(plain[rows], targets[rows], np.arange(len(rows)) % NUM_FOLDS, np.ones(len(rows)))

    def _rehearse(self) -> JudgedPredictions:
        chosen = evenly_spaced(len(self.taught), MAX_REHEARSED)
        rows, views = self.taught[chosen], zip(self.images.rehearsed, self.images.rehearsed_cells, strict=True)
        embeddings, cells = zip(*((view_ND[rows], [changed[row] for row in rows]) for view_ND, changed in views), strict=True)
        copies = Copies(np.concatenate(embeddings), np.tile(chosen, len(embeddings)), [cell for part in cells for cell in part])
        return judge_by_cross_fitting(self._labelled(self.taught), copies, self.num_classes, self.rehearsal_weight)


def _halves(targets_N: NDArray[np.int64], rng: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The images that are taught and those that are met, of each class."""
    share = 0.5 if len(targets_N) > FEW_IMAGES else 0.6
    taught, met = [], []
    for label in np.unique(targets_N):
        rows = rng.permutation(np.flatnonzero(targets_N == label))
        taught.append(rows[: round(share * len(rows))])
        met.append(rows[round(share * len(rows)) :])
    return rng.permutation(np.concatenate(taught)), rng.permutation(np.concatenate(met))
