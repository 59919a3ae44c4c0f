"""Whether an int8 or fp16 model is as good as the exact one: judged by intervals, so that no single image decides.

Predictions flip on images between two classes, in both directions, and few validation images hold few of these. The probability of the right
class shows a loss on every image: its mean is the accuracy of a calibrated model, and the difference of two models has a narrow interval.

Shapes: N validation images, K classes.
"""

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imageloop.intervals import mean_interval, wilson
from imageloop.promotion.settings import ExportSettings

logger = logging.getLogger(__name__)
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class PrecisionVerdict:
    """Whether a less precise model is in the package, and why: the loss of the probability of the right class, its interval, and the share of equal labels."""

    accepted: bool
    accuracy_loss: float
    accuracy_loss_low: float
    accuracy_loss_high: float
    agreement: float


def judge_precision(
    exact_NK: FloatArray, smaller_NK: FloatArray, targets_N: NDArray[np.int64], settings: ExportSettings, name: str
) -> PrecisionVerdict:
    """Accept a model whose loss is below the limit with 95 % confidence, and whose labels are not proved to differ too often.

    `exact_NK`, `smaller_NK`: calibrated probabilities. `name`: of the precision.
    """
    rows = np.arange(len(targets_N))
    lost_N = (exact_NK[rows, targets_N] - smaller_NK[rows, targets_N]).astype(np.float64)
    low, high = mean_interval(lost_N)
    same_N = exact_NK.argmax(1) == smaller_NK.argmax(1)
    accepted = high <= settings.int8_max_accuracy_loss and wilson(int(same_N.sum()), len(rows))[1] >= settings.int8_min_agreement
    logger.info(
        "%s %s: on %d validation images accuracy changes by %+.2f points and, with 95 %% confidence, falls by at most %.2f (limit: %g); %.1f %% of "
        "the labels are the same (limit: %g %%, or within chance of it)",
        name, "passed" if accepted else "refused, fp32 is used", len(rows), -100 * lost_N.mean(), 100 * max(high, 0.0), 100 * settings.int8_max_accuracy_loss,
        100 * same_N.mean(), 100 * settings.int8_min_agreement,
    )  # fmt: skip
    return PrecisionVerdict(accepted, float(lost_N.mean()), low, high, float(same_N.mean()))
