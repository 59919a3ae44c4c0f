"""Other thresholds between the classes of a head: one temperature and a bias a class, fitted on a few labels.

Shapes: N labels, D features, K classes.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from imageloop.training.logistic_head import LogisticHead

PRIOR = 1.0  # how firmly the thresholds stay where few labels speak


def recalibrated(head: LogisticHead, rows_ND: NDArray[np.float32], classes_N: NDArray[np.int64]) -> LogisticHead:
    """The head with the temperature and the biases that make the labels most likely, under a normal prior of no change.

    Source: Alexandari, Kundaje and Shrikumar, 'Maximum likelihood with bias-corrected calibration is hard-to-beat at label shift adaptation', 2020.
    """
    from scipy.optimize import minimize

    logits_NK = head.logits(rows_ND).astype(np.float64)
    targets_NK = np.eye(logits_NK.shape[1])[classes_N]

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scaled_NK = logits_NK * np.exp(values[0]) + values[1:]
        probabilities_NK = softmax(scaled_NK, axis=1)
        surprise = -float(np.log(np.maximum(probabilities_NK[targets_NK > 0], 1e-300)).sum())
        errors_NK = probabilities_NK - targets_NK
        slope = np.concatenate([[(errors_NK * logits_NK).sum() * np.exp(values[0])], errors_NK.sum(0)])
        return surprise + PRIOR * float(values @ values) / 2, slope + PRIOR * values

    found = minimize(loss, np.zeros(1 + logits_NK.shape[1]), jac=True, method="L-BFGS-B").x
    scale = float(np.exp(found[0]))
    return LogisticHead(head.weights_KD * scale, head.biases_K * scale + found[1:], head.scale)
