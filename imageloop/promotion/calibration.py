"""Calibrate the probabilities by one temperature, fitted on the validation split.

Source: Guo et al., On Calibration of Modern Neural Networks, 2017.
"""

import numpy as np
from numpy.typing import NDArray

NUM_BINS = 15
NUM_DRAWS = 1000


def fit_temperature(logits_NK: NDArray[np.float32], targets_N: NDArray[np.int64]) -> float:
    """The temperature in [0.05, 20] that minimises the negative log likelihood of the targets.

    One more right and one more wrong image are assumed: a hundred right predictions are no proof of a hundred percent.
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


def reliability(confidence_N: NDArray[np.float32], right_N: NDArray[np.bool_]) -> list[tuple[float, float, int]]:
    """Compute for each filled bin of confidence its mean confidence, share of right predictions, and number of images."""
    bins_N = _bins(confidence_N)
    return [
        (float(confidence_N[bins_N == b].mean()), float(right_N[bins_N == b].mean()), int((bins_N == b).sum()))
        for b in np.unique(bins_N)
    ]


def expected_calibration_error(confidence_N: NDArray[np.float32], right_N: NDArray[np.bool_]) -> float:
    """Mean distance between confidence and share of right predictions, in [0, 1]."""
    gaps_B = np.bincount(_bins(confidence_N), confidence_N - right_N, NUM_BINS)
    return float(np.abs(gaps_B).sum() / max(1, len(confidence_N)))


def chance_of_error(error: float, confidence_N: NDArray[np.float32], seed: int = 0) -> float:
    """The p-value of a calibration error: how often a perfectly calibrated model has so large an error by chance.

    By simulation, since bins of twenty images vary much. Source: Bröcker and Smith, Increasing the Reliability of
    Reliability Diagrams, 2007.
    """
    rng = np.random.default_rng(seed)
    drawn = [expected_calibration_error(confidence_N, rng.random(len(confidence_N)) < confidence_N) for _ in range(NUM_DRAWS)]
    return float((np.array(drawn) >= error).mean())


def _bins(confidence_N: NDArray[np.float32]) -> NDArray[np.intp]:
    return np.minimum((confidence_N * NUM_BINS).astype(np.intp), NUM_BINS - 1)
