"""The result of one monitoring run before its decision, as an artifact between steps."""

from dataclasses import asdict, dataclass
from typing import Any

from imageloop.monitoring.model_performance import ModelPerformance, Part
from imageloop.monitoring.windows import Window


@dataclass(frozen=True)
class Measurement:
    """`windows` of the version that serves, the newest last; `num_new`: how many of them are new.

    `new_labels` came since the model was made; `usable_labels` are those of them, on predictions since the drift began where there is
    one, that can train a head; `labels_since` came since the last attempt to retrain. Each counts one a scene, as far as the newest
    show. `test_accuracy`: of the version on its test images, None where its package does not name it; `test_error`: half of its interval.
    `num_predictions`: of the version, among the newest records.
    """

    model_name: str
    version: str
    made_at: float
    windows: list[Window]
    num_new: int
    performance: ModelPerformance
    num_labels: int
    new_labels: int
    usable_labels: int
    labels_since: int
    orphans: int
    test_accuracy: float | None = None
    test_error: float = 0.0
    num_predictions: int = 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of_dict(cls, values: dict[str, Any]) -> "Measurement":
        performance = ModelPerformance(
            **{**values["performance"], "parts": [Part(**part) for part in values["performance"]["parts"]]}
        )
        return cls(
            **{**values, "performance": performance, "windows": [Window.of_metrics(window) for window in values["windows"]]}
        )
