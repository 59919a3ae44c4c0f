"""How the answers fare, from the labels that come in later: with intervals, in parts, and with a word on whom they come from."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from imageloop.intervals import wealth, wilson
from imageloop.monitoring.settings import TruthSettings
from imageloop.training.contradicted_labels import MAX_CONTRADICTED, contradicted_share

FALSE_ALARM_RATE = 0.05  # of a model that is just as good as wanted; an interval of one look is left by chance sooner or later
BIAS_P_VALUE = 0.001  # so rarely does a fair sample look as if it were none
NUM_PERIODS = 12
PARTS = ("true_label", "model_version", "feedback_source")


@dataclass(frozen=True)
class Part:
    """Some of the labelled answers: of one class, of one version, of dark pictures, of a stretch of time."""

    kind: str
    name: str
    count: int
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class Truth:
    """`count` labels, one a scene. `bias` says in a sentence why they are no fair sample; None where nothing speaks against them."""

    count: int
    accuracy: float | None
    low: float
    high: float
    coverage: float
    bias: str | None
    parts: list[Part]

    def below(self, wanted: float) -> bool:
        """Whether fewer answers are right than wanted, by evidence that may be asked for at every look."""
        if self.accuracy is None:
            return False
        right = round(self.accuracy * self.count)
        return wealth(self.count - right, right, 1 - wanted) >= 1 / FALSE_ALARM_RATE

    @property
    def fair(self) -> bool:
        return self.bias is None


def measure_truth(answers: pd.DataFrame, labelled: pd.DataFrame, settings: TruthSettings) -> Truth:
    """The newest labelled answers of all that were given; of a scene the last one, for the newest tell how it goes now.

    Shapes: rows as the database gives them; `labelled` has `true_label`, `feedback_source` and `scene` besides.
    """
    in_order = labelled.sort_values("time", ignore_index=True)
    newest = in_order.drop_duplicates("scene", keep="last").tail(settings.max_labels)
    right = (newest["label"] == newest["true_label"]).to_numpy()
    low, high = wilson(int(right.sum()), len(newest))
    told = in_order.loc[newest.index.min() :] if len(newest) else in_order
    told = told[told["time"] >= answers["time"].min()] if len(answers) else told
    of_these = answers[answers["time"].between(told["time"].min(), told["time"].max())]
    coverage = len(told) / max(1, len(told), len(of_these))
    rest = of_these[~of_these["request_id"].isin(told["request_id"])]
    return Truth(
        count=len(newest),
        accuracy=float(right.mean()) if len(newest) >= settings.min_labels else None,
        low=low,
        high=high,
        coverage=coverage,
        bias=_bias(newest, told, rest, settings),
        parts=_parts(newest, right),
    )


def _bias(newest: pd.DataFrame, told: pd.DataFrame, rest: pd.DataFrame, settings: TruthSettings) -> str | None:
    """Labels tell of all answers only if they are a fair sample of them, and true. `told`: all that were labelled since the first of the
    `newest`, frame by frame; `rest`: the answers of the same time without a label.
    """
    if len(newest) < settings.min_labels:
        return None
    if (contradicted := contradicted_share(newest)) > MAX_CONTRADICTED:
        return (
            f"{contradicted:.0%} of the answers that the model was surest of are contradicted: lies, or classes that were renamed"
        )
    share_wrong = float((newest["label"] != newest["true_label"]).mean())
    without = len(rest) / max(1, len(rest) + len(told))
    if 1 - without < settings.min_coverage and share_wrong > settings.max_share_wrong:
        return (
            f"{share_wrong:.0%} of the {len(newest)} labels contradict the answer and {without:.0%} of the answers have none: "
            "complaints, not a sample"
        )
    return _choice(told, rest) if min(len(told), len(rest)) >= settings.min_labels else None


def _choice(told: pd.DataFrame, rest: pd.DataFrame) -> str | None:
    """Whether people chose which answers they labelled. Frames are held against frames, but are as much evidence as their scenes: those
    of one scene may well be labelled together.
    """
    from scipy.stats import ks_2samp, kstwobign  # half a second to load

    distance = ks_2samp(told["confidence"], rest["confidence"]).statistic
    scenes = told["scene"].nunique()
    others = len(rest) * scenes / len(told)
    p_value = float(kstwobign.sf(distance * np.sqrt(scenes * others / (scenes + others))))
    if p_value < BIAS_P_VALUE:
        return (
            f"the labelled answers differ from the others in confidence ({told['confidence'].mean():.3f} and "
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
