"""What is known when the monitor decides: the input of a decision."""

from collections.abc import Sequence
from dataclasses import dataclass

from imageloop.monitoring.model_performance import ModelPerformance
from imageloop.monitoring.windows import Window

HELPED = "promoted"  # the outcome of a retraining starts with it if a new version serves


@dataclass(frozen=True)
class Attempt:
    """An earlier decision to retrain. `outcome` is None while it is carried out."""

    time: float
    outcome: str | None

    @property
    def helped(self) -> bool:
        return self.outcome is not None and self.outcome.startswith(HELPED)


@dataclass(frozen=True)
class DecisionInput:
    """The input of a decision. `num_labels`: labelled predictions of this model; `new_labels`: since it was trained.

    `labels_since`: since the last attempt; a difference of totals would not do, since old labels are removed.
    `test_accuracy`: of the served version on its test images, None where its package does not name it; `test_error`: half of its interval.

    `num_predictions`: of the served version; `window_size`: how many make a window.
    """

    now: float
    windows: Sequence[Window]
    performance: ModelPerformance
    num_labels: int
    new_labels: int
    usable_labels: int
    trained_at: float
    attempts: Sequence[Attempt]
    labels_since: int = 0
    test_accuracy: float | None = None
    test_error: float = 0.0
    num_predictions: int = 0
    window_size: int = 0
