"""What to do about what was measured: a pure function, so that every decision can be replayed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from classifier.monitoring.settings import DecisionSettings
from classifier.monitoring.truth import Truth
from classifier.monitoring.windows import Window

Action = Literal["retrain", "alert", "nothing", "no_data"]
DAY_SECONDS = 86_400.0
HELPED = "promoted"  # how the outcome of a retraining begins that brought a new version into service


@dataclass(frozen=True)
class Attempt:
    """A retraining that was decided before. `outcome` is None while it is going on; `labels`: how many there were then."""

    time: float
    outcome: str | None
    labels: int

    @property
    def helped(self) -> bool:
        return self.outcome is not None and self.outcome.startswith(HELPED)


@dataclass(frozen=True)
class Situation:
    """All that a decision goes by. `num_labels`: answers of this model whose truth is known; `new_labels`: since it was trained."""

    now: float
    windows: Sequence[Window]
    truth: Truth
    num_labels: int
    new_labels: int
    usable_labels: int
    trained_at: float
    attempts: Sequence[Attempt]


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
    against = _objections(situation, settings, labels_wanted)
    if against:
        return Verdict("alert", "; ".join([*reasons, *warnings]) + f" — no retraining: {against[0]}", figures)
    return Verdict("retrain", "; ".join([*reasons, *warnings]), figures)


def _reasons(situation: Situation, settings: DecisionSettings) -> list[str]:
    reasons = []
    truth = situation.truth
    if truth.accuracy is not None and truth.fair and truth.high < settings.min_accuracy:
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
        reasons.append(f"the model is {(situation.now - situation.trained_at) / 3600:.1f} hours old")
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
    recent = situation.windows[-settings.of_windows :]
    unfamiliar = [window for window in recent if window.unfamiliar_alarm]
    if len(unfamiliar) >= settings.violated_windows:
        warnings.append(f"{unfamiliar[-1].unfamiliar_share:.0%} of the pictures are unlike any that the model was made of")
    if situation.truth.bias is not None:
        warnings.append(situation.truth.bias)
    return warnings


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
            f"the last one was {(now - attempts[-1].time) / 60:.0f} minutes ago, {settings.cool_down_minutes:g} are wanted"
        )
    if attempts and not attempts[-1].helped and situation.num_labels - attempts[-1].labels < settings.labels_after_failure:
        objections.append(
            f"the last one did not help ({attempts[-1].outcome}), and only {situation.num_labels - attempts[-1].labels} labels are new since, "
            f"{settings.labels_after_failure} wanted"
        )
    if situation.usable_labels < labels_wanted:
        objections.append(f"there is nothing new to learn from: {situation.usable_labels} usable labels, {labels_wanted} wanted")
    return objections


def _violated(situation: Situation, settings: DecisionSettings) -> list[Window]:
    return [window for window in situation.windows[-settings.of_windows :] if window.alarm]


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
        "accuracy_low": truth.low,
        "accuracy_high": truth.high,
        "labels": situation.num_labels,
        "new_labels": situation.new_labels,
        "usable_labels": situation.usable_labels,
        "bias": truth.bias,
        "attempts": len(situation.attempts),
    }
