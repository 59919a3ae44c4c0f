"""What a search found; importing it imports neither Optuna nor torch."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from imageloop.training.settings import TrainingSettings


@dataclass(frozen=True)
class TrialResult:
    """The outcome of a trial on the validation images.

    `loss`: cross-entropy a row after calibration, which ranks settings more finely than the accuracy of few images. Units:
    `accuracy` in [0, 1]; `milliseconds` of one image; `seconds` of the trial.
    """

    loss: float
    accuracy: float
    milliseconds: float
    seconds: float


@dataclass(frozen=True)
class SearchTrial:
    """One trial of a study. `values`: what the sampler drew; `result`: None where it was pruned, failed, or runs."""

    kind: str
    number: int
    state: str
    values: dict[str, Any]
    result: TrialResult | None


@dataclass(frozen=True)
class SearchResult:
    """The winner of a search, and what the training without a search reached on the same validation images.

    `settings`: of the winner, whose name is `winner`. `study`: the name, without the kind. `charts`: PNG files by name.
    """

    settings: TrainingSettings
    winner: str
    best: TrialResult
    default: TrialResult
    trials: list[SearchTrial]
    study: str
    storage: str
    seconds: float
    charts: dict[str, bytes] = field(default_factory=dict)

    @property
    def completed(self) -> int:
        """The number of trials that ran to their end."""
        return sum(trial.state == "complete" for trial in self.trials)

    def as_dict(self) -> dict[str, Any]:
        """Values for JSON, without the charts."""
        values = asdict(replace(self, charts={})) | {"settings": self.settings.model_dump(mode="json")}
        del values["charts"]
        return values

    @classmethod
    def of_dict(cls, values: dict[str, Any]) -> Self:
        """The opposite of `as_dict`."""
        trials = [
            SearchTrial(**{**trial, "result": TrialResult(**trial["result"]) if trial["result"] else None})
            for trial in values["trials"]
        ]
        parts = {name: TrialResult(**values[name]) for name in ("best", "default")}
        return cls(**{**values, **parts, "trials": trials, "settings": TrainingSettings.model_validate(values["settings"])})
