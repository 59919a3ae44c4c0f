"""Accuracy, precision, recall and F1, over all classes and for each."""

from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ClassScores:
    """Scores in [0, 1]; 0 where there is nothing to divide by."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class ClassificationScores:
    """`precision`, `recall`, `f1`: means over the classes, each weighing the same ("macro")."""

    accuracy: float
    precision: float
    recall: float
    f1: float
    by_class: dict[str, ClassScores]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        by_class = {name: ClassScores(**scores) for name, scores in values["by_class"].items()}
        return cls(**{**values, "by_class": by_class})

    def flat(self) -> dict[str, float]:
        """Return each number under one name, as a tracker takes it."""
        single = {
            f"{name}_{metric}": getattr(scores, metric)
            for name, scores in self.by_class.items()
            for metric in ("precision", "recall", "f1")
        }
        return self.together() | single

    def together(self) -> dict[str, float]:
        """Average the scores of all classes."""
        return {name: getattr(self, name) for name in ("accuracy", "precision", "recall", "f1")}


def confusion_matrix(predicted_N: NDArray[np.int64], targets_N: NDArray[np.int64], num_classes: int) -> NDArray[np.int64]:
    """Rows: the true class; columns: the prediction. (K, K) counts."""
    matrix = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(matrix, (targets_N, predicted_N), 1)
    return matrix


def score(predicted_N: NDArray[np.int64], targets_N: NDArray[np.int64], class_names: list[str]) -> ClassificationScores:
    """Compare predictions with the ground truth, both as indices into `class_names`."""
    matrix = confusion_matrix(predicted_N, targets_N, len(class_names))
    right, support = matrix.diagonal(), matrix.sum(1)
    precision = right / np.maximum(matrix.sum(0), 1)
    recall = right / np.maximum(support, 1)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    by_class = {
        name: ClassScores(float(precision[k]), float(recall[k]), float(f1[k]), int(support[k]))
        for k, name in enumerate(class_names)
    }
    accuracy = int(right.sum()) / max(1, int(matrix.sum()))
    return ClassificationScores(accuracy, float(precision.mean()), float(recall.mean()), float(f1.mean()), by_class)
