"""The metrics of one window of predictions: drift, estimated accuracy, share out of distribution."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd

from imageloop.embeddings.accuracy_estimator import MAX_WIDTH, AccuracyEstimator
from imageloop.embeddings.drift_samples import MIN_SCENES, Sample, sample_of_records, with_scenes
from imageloop.embeddings.novelty import FALSE_ALARM_SHARE
from imageloop.monitoring.drift import Drift, FeatureGroup, Histogram, measure_drift
from imageloop.monitoring.drift_settings import DriftSettings

NUM_UNUSUAL = 12


@dataclass(frozen=True)
class UnusualImage:
    """The prediction of an image that is unlike the training data. `novelty`: its distance from them, as records have it."""

    request_id: str
    label: str
    novelty: float


@dataclass(frozen=True)
class Window:
    """`estimated_accuracy`: without labels, from `estimated_low` to `estimated_high`; `reference_accuracy`: on images as usual.

    `histograms`: of the feature groups that have a unit; empty in windows of early releases.

    `unusual`: the images farthest from the training data, the farthest first, one a scene.

    Packages made before 0.3 have no estimator: there it is the mean calibrated confidence, without an interval.

    `num_scenes`: how many of the `count` predictions, one a scene, are compared with the reference; None in windows of early releases.
    """

    version: str
    start: float
    end: float
    count: int
    p_value: float
    alarm: bool
    feature_groups: list[FeatureGroup]
    estimated_accuracy: float
    reference_accuracy: float
    out_of_distribution_share: float
    out_of_distribution_alarm: bool
    labels: dict[str, int]
    num_scenes: int | None = None
    estimated_low: float | None = None
    estimated_high: float | None = None
    histograms: dict[str, Histogram] = field(default_factory=dict)
    unusual: list[UnusualImage] = field(default_factory=list)

    @property
    def is_conclusive(self) -> bool:
        """Whether it has enough scenes for a statement."""
        return self.num_scenes is None or self.num_scenes >= MIN_SCENES

    @property
    def estimated_loss(self) -> float:
        return self.reference_accuracy - self.estimated_accuracy

    @property
    def has_estimate(self) -> bool:
        """Whether the interval of the estimate is narrow enough to say something."""
        return self.estimated_low is None or self.estimated_high is None or self.estimated_high - self.estimated_low <= MAX_WIDTH

    @property
    def estimated_interval(self) -> str:
        """The interval of the estimate in brackets, after a blank; empty where there is none."""
        return "" if self.estimated_low is None else f" ({self.estimated_low:.0%} to {self.estimated_high:.0%})"

    @property
    def drift_score(self) -> float:
        """1 less the p-value: near 1 where something changed."""
        return 1 - self.p_value

    def metrics(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of_metrics(cls, metrics: dict[str, Any]) -> "Window":
        histograms = {name: Histogram(**values) for name, values in metrics.get("histograms", {}).items()}
        groups = [FeatureGroup(**group) for group in metrics["feature_groups"]]
        unusual = [UnusualImage(**image) for image in metrics.get("unusual", [])]
        return cls(**{**metrics, "feature_groups": groups, "histograms": histograms, "unusual": unusual})


def measure_window(
    records: pd.DataFrame,
    reference: Sample,
    class_names: list[str],
    settings: DriftSettings,
    scene_distance: float = 0.0,
    estimator: AccuracyEstimator | None = None,
) -> Window:
    """Measure the predictions of one version, as the database returns them; of a scene the first one counts."""
    apart = with_scenes(records, scene_distance).drop_duplicates("scene")
    sample = sample_of_records(apart, class_names)
    drift = (
        measure_drift(reference, sample, settings)
        if min(len(sample), len(reference)) > 1
        else Drift(1.0, alarm=False, feature_groups=[])
    )
    estimate = estimator.estimate(sample.embeddings_ND, sample.probabilities_NK) if estimator and len(sample) else None
    judged, scenes = (table["in_distribution"].dropna().astype(bool) for table in (records, apart))
    out_of_distribution = len(scenes) > 0 and _exceeds_expected_share(
        int((~scenes).sum()), len(scenes), settings.false_alarm_rate
    )
    return Window(
        version=str(records["model_version"].iloc[-1]),
        start=float(records["time"].iloc[0]),
        end=float(records["time"].iloc[-1]),
        count=len(records),
        p_value=drift.p_value,
        alarm=drift.alarm,
        feature_groups=drift.feature_groups,
        estimated_accuracy=estimate.value if estimate else float(sample.probabilities_NK.max(1).mean()),
        reference_accuracy=estimate.usual if estimate else float(reference.probabilities_NK.max(1).mean()),
        out_of_distribution_share=int((~judged).sum()) / max(1, len(judged)),
        out_of_distribution_alarm=out_of_distribution,
        labels={str(name): int(count) for name, count in records["label"].value_counts().items()},
        num_scenes=len(apart),
        estimated_low=estimate.low if estimate else None,
        estimated_high=estimate.high if estimate else None,
        histograms=drift.histograms,
        unusual=_most_unusual(apart),
    )


def _most_unusual(records: pd.DataFrame) -> list[UnusualImage]:
    farthest = records.dropna(subset=["novelty"]).sort_values("novelty", ascending=False, kind="stable").head(NUM_UNUSUAL)
    return [UnusualImage(row.request_id, row.label, float(row.novelty)) for row in farthest.itertuples()]


def drifting_since(windows: Sequence[Window]) -> float | None:
    """The start of the unbroken sequence of alarms up to the newest window; None if that is no alarm.

    Inconclusive windows do not break the sequence.
    """
    start = None
    for window in (one for one in reversed(windows) if one.is_conclusive):
        if not window.alarm:
            break
        start = window.start
    return start


def _exceeds_expected_share(count: int, total: int, false_alarm_rate: float) -> bool:
    """Whether more than twice the expected share is out of distribution: the limit was estimated on few images."""
    from scipy.stats import binomtest  # half a second to load

    return bool(binomtest(count, total, 2 * FALSE_ALARM_SHARE, alternative="greater").pvalue <= false_alarm_rate)
