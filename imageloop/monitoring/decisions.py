"""What to do about what was measured: a pure function, so that every decision can be replayed."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import quantiles
from typing import Any, Literal

from imageloop.data.image_statistics import NAMES
from imageloop.monitoring.model_performance import Truth
from imageloop.monitoring.settings import DecisionSettings
from imageloop.monitoring.windows import Window

Action = Literal["retrain", "alert", "nothing", "no_data"]
DAY_SECONDS = 86_400.0
FEWER = 5  # times fewer scenes than usual: something repeats itself
LEAST_CHANGE = 0.1  # of a statistic: less is no change that a copy could show
HELPED = "promoted"  # how the outcome of a retraining begins that brought a new version into service


@dataclass(frozen=True)
class Attempt:
    """A retraining that was decided before. `outcome` is None while it is going on."""

    time: float
    outcome: str | None

    @property
    def helped(self) -> bool:
        return self.outcome is not None and self.outcome.startswith(HELPED)


@dataclass(frozen=True)
class Situation:
    """All that a decision goes by. `num_labels`: answers of this model whose truth is known; `new_labels`: since it was trained.

    `labels_since`: those that came after the last attempt. Their number then and now would not tell: old ones are forgotten.
    """

    now: float
    windows: Sequence[Window]
    truth: Truth
    num_labels: int
    new_labels: int
    usable_labels: int
    trained_at: float
    attempts: Sequence[Attempt]
    labels_since: int = 0


@dataclass(frozen=True)
class Verdict:
    """What to do, why, and the figures that it follows from."""

    action: Action
    reason: str
    figures: dict[str, Any] = field(default_factory=dict)


def decide(situation: Situation, settings: DecisionSettings, labels_wanted: int) -> Verdict:
    """Retrain for a reason that nothing speaks against; tell of everything that a person should know."""
    figures = _figures(situation, settings)
    if not situation.windows and not situation.num_labels:
        return Verdict("no_data", "no whole window of answers and no label yet", figures)
    reasons, warnings = _reasons(situation, settings), _warnings(situation, settings)
    if not reasons:
        return Verdict("alert" if warnings else "nothing", "; ".join(warnings) or "nothing has changed", figures)
    imitation = _imitation(situation, settings) if situation.usable_labels < labels_wanted else None
    against = _objections(situation, settings, 0 if imitation else labels_wanted)
    if against:
        return Verdict("alert", "; ".join([*reasons, *warnings]) + f" — no retraining: {against[0]}", figures)
    if imitation:
        reasons.append("labels are too few, so the change is imitated")
    return Verdict("retrain", "; ".join([*reasons, *warnings]), figures | {"imitation": imitation})


def _reasons(situation: Situation, settings: DecisionSettings) -> list[str]:
    reasons = []
    truth = situation.truth
    if truth.accuracy is not None and truth.fair and truth.below(settings.min_accuracy):
        reasons.append(
            f"accuracy {truth.accuracy:.1%} ({truth.low:.1%} to {truth.high:.1%}, {truth.count} labels) is below {settings.min_accuracy:.1%}"
        )
    violated = _violated(situation, settings)
    damaging = [window for window in violated if window.estimated_loss > settings.max_estimated_loss]
    if len(damaging) >= settings.violated_windows:
        newest = damaging[-1]
        reasons.append(
            f"{len(damaging)} of the last {settings.of_windows} windows drifted ({newest.levels[0].name} first), "
            f"and accuracy is estimated at {newest.estimated_accuracy:.1%} instead of {newest.reference_accuracy:.1%}"
        )
    if settings.every_hours is not None and situation.now - situation.trained_at >= settings.every_hours * 3600:
        reasons.append(
            f"the model is of {datetime.fromtimestamp(situation.trained_at, UTC):%Y-%m-%d %H:%M} UTC, older than {settings.every_hours:g} hours"
        )
    if settings.new_labels is not None and situation.new_labels >= settings.new_labels:
        reasons.append(f"{situation.new_labels} new labels wait")
    return reasons


def _warnings(situation: Situation, settings: DecisionSettings) -> list[str]:
    """What a person should know although it is no reason to retrain."""
    warnings = []
    violated = _violated(situation, settings)
    harmless = [window for window in violated if window.estimated_loss <= settings.max_estimated_loss]
    if len(violated) >= settings.violated_windows and len(harmless) > len(violated) - settings.violated_windows:
        newest = violated[-1]
        warnings.append(
            f"{len(violated)} of the last {settings.of_windows} windows drifted ({newest.levels[0].name} first), "
            f"by estimate without harm ({newest.estimated_accuracy:.1%} instead of {newest.reference_accuracy:.1%})"
        )
    unfamiliar = [window for window in situation.windows[-settings.of_windows :] if window.unfamiliar_alarm]
    if len(unfamiliar) >= settings.violated_windows:
        warnings.append(f"{unfamiliar[-1].unfamiliar_share:.0%} of the pictures are unlike any that the model was made of")
    if (repeated := _repetition(situation, settings)) is not None:
        warnings.append(repeated)
    if situation.truth.bias is not None:
        warnings.append(situation.truth.bias)
    return warnings


def _repetition(situation: Situation, settings: DecisionSettings) -> str | None:
    """Where windows suddenly show few scenes, such as a fault makes: nothing else would tell, for a scene counts once in all that is measured."""
    shares = [window.num_scenes / window.count for window in situation.windows if window.num_scenes is not None]
    before, recent = shares[: -settings.of_windows], shares[-settings.of_windows :]
    usual = quantiles(before)[-1] if len(before) > 1 else 0.0  # the upper quartile: a fault that lasts is not usual soon
    few = [share for share in recent if share * FEWER < usual]
    if len(few) < settings.violated_windows:
        return None
    return f"{few[-1]:.0%} of the newest pictures show another scene, instead of some {usual:.0%}: the same ones come again and again"


def _objections(situation: Situation, settings: DecisionSettings, labels_wanted: int) -> list[str]:
    attempts, now = situation.attempts, situation.now
    objections = []
    if any(attempt.outcome is None for attempt in attempts):
        objections.append("one is going on")
    today = [attempt for attempt in attempts if now - attempt.time < DAY_SECONDS]
    if len(today) >= settings.max_a_day:
        objections.append(f"{len(today)} within a day are the most that is allowed")
    if attempts and now - attempts[-1].time < settings.cool_down_minutes * 60:
        objections.append(
            f"the last one was at {datetime.fromtimestamp(attempts[-1].time, UTC):%H:%M} UTC, and {settings.cool_down_minutes:g} minutes "
            "are wanted between two"
        )
    if attempts and not attempts[-1].helped and situation.labels_since < settings.labels_after_failure:
        objections.append(
            f"the last one did not help ({attempts[-1].outcome}), and only {situation.labels_since} labels are new since, "
            f"{settings.labels_after_failure} wanted"
        )
    if situation.usable_labels < labels_wanted:
        objections.append(f"there is nothing new to learn from: {situation.usable_labels} usable labels, {labels_wanted} wanted")
    return objections


def _imitation(situation: Situation, settings: DecisionSettings) -> dict[str, float] | None:
    """What the statistics of the pictures became in the violated windows, in times of what they were; None where that may or can not be.

    A change that they do not show, such as a new class, cannot be imitated.
    """
    violated = _violated(situation, settings)
    if not settings.imitate or not violated:
        return None
    before: dict[str, float] = defaultdict(float)
    after: dict[str, float] = defaultdict(float)
    for level in (level for window in violated for level in window.levels):
        if level.name in NAMES and level.before and level.after:
            before[level.name] += level.before
            after[level.name] += level.after
    times = {name: after[name] / before[name] for name in before}
    if not any(abs(math.log(value)) > math.log(1 + LEAST_CHANGE) for value in times.values()):
        return None
    return {name: round(min(max(value, 0.01), 10.0), 3) for name, value in sorted(times.items())}


def _violated(situation: Situation, settings: DecisionSettings) -> list[Window]:
    telling = [window for window in situation.windows if window.tells]
    return [window for window in telling[-settings.of_windows :] if window.alarm]


def _figures(situation: Situation, settings: DecisionSettings) -> dict[str, Any]:
    newest = situation.windows[-1] if situation.windows else None
    truth = situation.truth
    return {
        "windows": len(situation.windows),
        "violated": len(_violated(situation, settings)),
        "drift_p_value": newest.p_value if newest else None,
        "estimated_accuracy": newest.estimated_accuracy if newest else None,
        "reference_accuracy": newest.reference_accuracy if newest else None,
        "unfamiliar_share": newest.unfamiliar_share if newest else None,
        "accuracy": truth.accuracy,
        "accuracy_low": None if truth.accuracy is None else truth.low,
        "accuracy_high": None if truth.accuracy is None else truth.high,
        "accuracy_wanted": None if truth.accuracy is None or not truth.fair else settings.min_accuracy,
        "labels": situation.num_labels,
        "new_labels": situation.new_labels,
        "usable_labels": situation.usable_labels,
        "bias": truth.bias,
        "attempts": len(situation.attempts),
    }
