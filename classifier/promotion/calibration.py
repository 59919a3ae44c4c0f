"""Probabilities that mean what they say: one temperature, fitted on the validation split.

Source: Guo et al., On Calibration of Modern Neural Networks, 2017.
"""

import numpy as np
from numpy.typing import NDArray

NUM_BINS = 15


def fit_temperature(logits_NK: NDArray[np.float32], targets_N: NDArray[np.int64]) -> float:
    """The temperature in [0.05, 20] that minimises the negative log likelihood of the targets.

    As if one more picture had been answered right and one wrong: a hundred right answers are no proof of a hundred percent.
    Source: Platt, Probabilistic Outputs for Support Vector Machines, 1999.
    """
    import torch

    num_rows, num_classes = logits_NK.shape
    smoothing = num_classes / (num_classes - 1) / (num_rows + 2)
    logits, targets = torch.from_numpy(logits_NK).double(), torch.from_numpy(targets_N)
    log_temperature = torch.zeros((), dtype=torch.double, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(logits / log_temperature.exp(), targets, label_smoothing=smoothing)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return float(log_temperature.detach().exp().clamp(0.05, 20.0).nan_to_num(1.0))


def reliability(probabilities_NK: NDArray[np.float32], targets_N: NDArray[np.int64]) -> list[tuple[float, float, int]]:
    """For each filled bin of confidence: mean confidence, share of right answers, number of pictures."""
    confidence = probabilities_NK.max(1)
    right = probabilities_NK.argmax(1) == targets_N
    bins = np.minimum((confidence * NUM_BINS).astype(int), NUM_BINS - 1)
    return [
        (float(confidence[bins == b].mean()), float(right[bins == b].mean()), int((bins == b).sum())) for b in np.unique(bins)
    ]


def expected_calibration_error(probabilities_NK: NDArray[np.float32], targets_N: NDArray[np.int64]) -> float:
    """Mean distance between confidence and share of right answers, in [0, 1]."""
    rows = reliability(probabilities_NK, targets_N)
    return sum(abs(confidence - right) * count for confidence, right, count in rows) / max(1, len(targets_N))
