"""One window of answers in figures: what changed, how much it may cost, and how much of it is unlike anything known."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from imageloop.embeddings.drift_samples import MIN_SCENES, Sample, sample_of_records, with_scenes
from imageloop.embeddings.novelty import FALSE_ALARM_SHARE
from imageloop.monitoring.drift import Drift, Level, measure_drift
from imageloop.monitoring.settings import DriftSettings


@dataclass(frozen=True)
class Window:
    """`estimated_accuracy`: the mean calibrated confidence, which needs no label; `reference_accuracy`: the same before the world changed.

    `num_scenes`: how many of the `count` answers, one a scene, are held against the reference; None in windows of before that was asked.
    """

    version: str
    start: float
    end: float
    count: int
    p_value: float
    alarm: bool
    levels: list[Level]
    estimated_accuracy: float
    reference_accuracy: float
    unfamiliar_share: float
    unfamiliar_alarm: bool
    labels: dict[str, int]
    num_scenes: int | None = None

    @property
    def tells(self) -> bool:
        """Whether it shows scenes enough to say that something changed, or that nothing did."""
        return self.num_scenes is None or self.num_scenes >= MIN_SCENES

    @property
    def estimated_loss(self) -> float:
        return self.reference_accuracy - self.estimated_accuracy

    @property
    def drift_score(self) -> float:
        """1 less the p-value: near 1 where something changed."""
        return 1 - self.p_value

    def figures(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of_figures(cls, figures: dict[str, Any]) -> "Window":
        return cls(**{**figures, "levels": [Level(**level) for level in figures["levels"]]})


def measure_window(
    records: pd.DataFrame, reference: Sample, class_names: list[str], settings: DriftSettings, scene_distance: float = 0.0
) -> Window:
    """Rows of one version, as the database gives them; of a scene the first one counts."""
    apart = with_scenes(records, scene_distance).drop_duplicates("scene")
    sample = sample_of_records(apart, class_names)
    drift = (
        measure_drift(reference, sample, settings) if min(len(sample), len(reference)) > 1 else Drift(1.0, alarm=False, levels=[])
    )
    judged, scenes = (table["in_distribution"].dropna().astype(bool) for table in (records, apart))
    unfamiliar = len(scenes) > 0 and _is_more_than_usual(int((~scenes).sum()), len(scenes), settings.false_alarm_rate)
    return Window(
        version=str(records["model_version"].iloc[-1]),
        start=float(records["time"].iloc[0]),
        end=float(records["time"].iloc[-1]),
        count=len(records),
        p_value=drift.p_value,
        alarm=drift.alarm,
        levels=drift.levels,
        estimated_accuracy=float(sample.probabilities_NK.max(1).mean()),
        reference_accuracy=float(reference.probabilities_NK.max(1).mean()),
        unfamiliar_share=int((~judged).sum()) / max(1, len(judged)),
        unfamiliar_alarm=unfamiliar,
        labels={str(name): int(count) for name, count in records["label"].value_counts().items()},
        num_scenes=len(apart),
    )


def drifting_since(windows: Sequence[Window]) -> float | None:
    """The start of the first window of the unbroken row of alarms that the newest one ends; None where it is no alarm.

    Windows that tell nothing break no row.
    """
    start = None
    for window in (one for one in reversed(windows) if one.tells):
        if not window.alarm:
            break
        start = window.start
    return start


def _is_more_than_usual(count: int, total: int, false_alarm_rate: float) -> bool:
    """Twice the usual share is taken for usual still: the limit was drawn on few pictures."""
    from scipy.stats import binomtest  # half a second to load

    return bool(binomtest(count, total, 2 * FALSE_ALARM_SHARE, alternative="greater").pvalue <= false_alarm_rate)
