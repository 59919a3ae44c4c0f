"""Model performance by ground truth: with intervals, by class, version, source and slice, and with a check for biased labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from imageloop.intervals import e_value, wilson
from imageloop.monitoring.settings import PerformanceSettings
from imageloop.training.poisoned_labels import Known, accused_labels

FALSE_ALARM_RATE = (
    0.05  # of a model exactly at the threshold, over all monitoring runs; a plain interval would alarm sooner or later
)
BIAS_P_VALUE = 0.001  # the false alarm rate of the bias check
NUM_PERIODS = 12
PARTS = ("ground_truth", "model_version", "feedback_source")


@dataclass(frozen=True)
class Part:
    """Some of the labelled predictions: of one class, of one version, of dark images, of a stretch of time."""

    kind: str
    name: str
    count: int
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class ModelPerformance:
    """`count` labels, one a scene. `bias` is the reason why they are no fair sample; None if they are."""

    count: int
    accuracy: float | None
    low: float
    high: float
    coverage: float
    bias: str | None
    parts: list[Part]

    def below(self, threshold: float) -> bool:
        """Whether accuracy is below the threshold, by an e-value that may be read at every monitoring run."""
        if self.accuracy is None:
            return False
        right = round(self.accuracy * self.count)
        return e_value(self.count - right, right, 1 - threshold) >= 1 / FALSE_ALARM_RATE

    @property
    def fair(self) -> bool:
        return self.bias is None


def measure_performance(
    predictions: pd.DataFrame,
    labelled: pd.DataFrame,
    settings: PerformanceSettings,
    known: Known | None = None,
    class_names: Sequence[str] = (),
) -> ModelPerformance:
    """The performance on the newest labelled predictions, one a scene, the last one.

    Shapes: rows as the database gives them; `labelled` has `ground_truth`, `feedback_source` and `scene` besides. `known`: embeddings and
    classes of images whose labels were checked, with which poisoned labels are found.
    """
    in_order = labelled.sort_values("time", ignore_index=True)
    newest = in_order.drop_duplicates("scene", keep="last").tail(settings.max_labels)
    right = (newest["label"] == newest["ground_truth"]).to_numpy()
    low, high = wilson(int(right.sum()), len(newest))
    labelled_frames = in_order.loc[newest.index.min() :] if len(newest) else in_order
    labelled_frames = (
        labelled_frames[labelled_frames["time"] >= predictions["time"].min()] if len(predictions) else labelled_frames
    )
    candidates = predictions[predictions["time"].between(labelled_frames["time"].min(), labelled_frames["time"].max())]
    coverage = len(labelled_frames) / max(1, len(labelled_frames), len(candidates))
    rest = candidates[~candidates["request_id"].isin(labelled_frames["request_id"])]
    return ModelPerformance(
        count=len(newest),
        accuracy=float(right.mean()) if len(newest) >= settings.min_labels else None,
        low=low,
        high=high,
        coverage=coverage,
        bias=_bias(newest, labelled_frames, rest, settings) or _poison(newest, settings, known, class_names),
        parts=_parts(newest, right),
    )


def _bias(newest: pd.DataFrame, labelled_frames: pd.DataFrame, rest: pd.DataFrame, settings: PerformanceSettings) -> str | None:
    """Why the labels are no fair sample of the predictions; None if they are fair. `labelled_frames`: the labelled predictions since
    the first of the `newest`, frame by frame; `rest`: those of the same time without a label.
    """
    if len(newest) < settings.min_labels:
        return None
    share_wrong = float((newest["label"] != newest["ground_truth"]).mean())
    without = len(rest) / max(1, len(rest) + len(labelled_frames))
    if 1 - without < settings.min_coverage and share_wrong > settings.max_share_wrong:
        return (
            f"{share_wrong:.0%} of the {len(newest)} labels contradict the prediction and {without:.0%} of the predictions have none: "
            "complaints, not a sample"
        )
    return _choice(labelled_frames, rest) if min(len(labelled_frames), len(rest)) >= settings.min_labels else None


def _poison(newest: pd.DataFrame, settings: PerformanceSettings, known: Known | None, class_names: Sequence[str]) -> str | None:
    """Which source may be poisoned, and why; None where none is accused."""
    if len(newest) < settings.min_labels:
        return None
    reasons = accused_labels(
        newest[newest["ground_truth"].isin(class_names)] if class_names else newest, known, list(class_names)
    )
    accused = reasons[reasons != ""]
    if accused.empty:
        return None
    source, reason = newest.loc[accused.index[-1], "feedback_source"], accused.iloc[-1]
    return f"the labels of source '{source}' may be poisoned, or the classes renamed: {reason}"


def _choice(labelled_frames: pd.DataFrame, rest: pd.DataFrame) -> str | None:
    """Whether predictions were chosen for labelling, by a test of their confidence. Frames are compared with frames, but count as much
    evidence as their scenes, since those of one scene may be labelled at once.
    """
    from scipy.stats import ks_2samp, kstwobign  # half a second to load

    distance = ks_2samp(labelled_frames["confidence"], rest["confidence"]).statistic
    scenes = labelled_frames["scene"].nunique()
    others = len(rest) * scenes / len(labelled_frames)
    p_value = float(kstwobign.sf(distance * np.sqrt(scenes * others / (scenes + others))))
    if p_value < BIAS_P_VALUE:
        return (
            f"the labelled predictions differ from the others in confidence ({labelled_frames['confidence'].mean():.3f} and "
            f"{rest['confidence'].mean():.3f} on average, p = {p_value:.1g}): labels are given by choice, not at random"
        )
    return None


def _parts(labelled: pd.DataFrame, right: np.ndarray[Any, np.dtype[np.bool_]]) -> list[Part]:
    if labelled.empty:
        return []
    members = {(kind, str(name)): (labelled[kind] == name).to_numpy() for kind in PARTS for name in labelled[kind].unique()}
    brightness = np.array([(row or {}).get("brightness", np.nan) for row in labelled["statistics"]])
    sharpness = np.array([(row or {}).get("sharpness", np.nan) for row in labelled["statistics"]])
    if len(labelled) >= NUM_PERIODS and not np.isnan(brightness).any():
        members["slice", "dark"] = brightness <= np.quantile(brightness, 0.1)
        members["slice", "bright"] = brightness >= np.quantile(brightness, 0.9)
        members["slice", "blurred"] = sharpness <= np.quantile(sharpness, 0.1)
    edges = np.linspace(0, len(labelled), min(NUM_PERIODS, len(labelled)) + 1).astype(int)
    for start, end in pairwise(edges):
        period = np.zeros(len(labelled), bool)
        period[start:end] = True
        members["until", f"{labelled['time'].iloc[end - 1]:.0f}"] = period
    return [_part(kind, name, right[rows]) for (kind, name), rows in members.items() if rows.any()]


def _part(kind: str, name: str, right: np.ndarray[Any, np.dtype[np.bool_]]) -> Part:
    return Part(kind, name, len(right), float(right.mean()), *wilson(int(right.sum()), len(right)))
