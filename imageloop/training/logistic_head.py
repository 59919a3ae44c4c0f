"""A linear head by logistic regression on stored features, for models that judge labels and predictions and never serve.

Shapes: N rows, D features, K classes.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

LABEL_WEIGHT = 4.0  # of a label beside a checked image: there are few labels after a change
ABSENT = -30.0  # the logit of a class without a row
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class LogisticHead:
    """Weights (K, D) and biases (K,) of logits; rows are divided by `scale` first."""

    weights_KD: NDArray[np.float64]
    biases_K: NDArray[np.float64]
    scale: float

    @classmethod
    def fit(
        cls, rows_ND: FloatArray, classes_N: NDArray[np.int64], num_classes: int, weights_N: NDArray[np.float64] | None = None
    ) -> Self:
        """Raises: ValueError for rows of one class only."""
        from sklearn.linear_model import LogisticRegression

        scale = float(np.linalg.norm(rows_ND, axis=1).mean())
        model = LogisticRegression(C=10.0, max_iter=200).fit(rows_ND / scale, classes_N, sample_weight=weights_N)
        weights_KD, biases_K = np.zeros((num_classes, rows_ND.shape[1])), np.full(num_classes, ABSENT)
        two = len(model.classes_) == 2
        weights_KD[model.classes_] = np.concatenate([-model.coef_ / 2, model.coef_ / 2]) if two else model.coef_
        biases_K[model.classes_] = np.concatenate([-model.intercept_ / 2, model.intercept_ / 2]) if two else model.intercept_
        return cls(weights_KD, biases_K, scale)

    def logits(self, rows_ND: FloatArray) -> FloatArray:
        logits_NK: FloatArray = ((rows_ND / self.scale) @ self.weights_KD.T + self.biases_K).astype(np.float32)
        return logits_NK
