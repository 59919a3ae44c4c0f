"""All that one look at a served model found, as steps hand it on."""

from dataclasses import asdict, dataclass
from typing import Any

from imageloop.monitoring.model_performance import Part, Truth
from imageloop.monitoring.windows import Window


@dataclass(frozen=True)
class Measurement:
    """`windows` of the version that serves, the newest last; `num_new`: how many of them are new.

    `new_labels` came since the model was made; `usable_labels` are those of them, on answers since the drift began where there is
    one, from which a head can learn; `labels_since` came since the last attempt to retrain. Each counts one a scene, as far as the newest
    tell.
    """

    model_name: str
    version: str
    made_at: float
    windows: list[Window]
    num_new: int
    truth: Truth
    num_labels: int
    new_labels: int
    usable_labels: int
    labels_since: int
    orphans: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of_dict(cls, values: dict[str, Any]) -> "Measurement":
        truth = Truth(**{**values["truth"], "parts": [Part(**part) for part in values["truth"]["parts"]]})
        return cls(**{**values, "truth": truth, "windows": [Window.of_figures(window) for window in values["windows"]]})
