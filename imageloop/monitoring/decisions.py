"""Decide what follows from a measurement: a pure function, so that every decision can be replayed."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import quantiles
from typing import Any, Literal

from imageloop.data.image_statistics import NAMES
from imageloop.monitoring.model_performance import ModelPerformance
from imageloop.monitoring.settings import DecisionSettings
from imageloop.monitoring.windows import Window

Action = Literal["retrain", "alert", "nothing", "no_data"]
DAY_SECONDS = 86_400.0
FEWER = 5  # times fewer scenes than usual: something repeats itself
LEAST_CHANGE = 0.1  # of a statistic: less is no change that a copy could reproduce
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
class Situation:
    """The input of a decision. `num_labels`: labelled predictions of this model; `new_labels`: since it was trained.

    `labels_since`: since the last attempt; a difference of totals would not do, since old labels are removed.
    `test_accuracy`: of the served version on its test images, None where its package does not name it; `test_error`: half of its interval.
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


@dataclass(frozen=True)
class Verdict:
    """A decision with its reason and its metrics."""

    action: Action
    reason: str
    metrics: dict[str, Any] = field(default_factory=dict)


def accuracy_threshold(situation: Situation, settings: DecisionSettings) -> float | None:
    """The accuracy below which a model is retrained: as set, else what the served version showed on its test images less a margin.

    Few test images may flatter a model: the margin is no smaller than the half width of their interval.
    """
    if settings.min_accuracy is not None or situation.test_accuracy is None:
        return settings.min_accuracy
    threshold = situation.test_accuracy - max(settings.accuracy_margin, situation.test_error)
    return threshold if threshold > 0 else None


def decide(situation: Situation, settings: DecisionSettings, labels_needed: int) -> Verdict:
    """Retrain for a reason without an objection; alert on everything that a user should know."""
    metrics = _metrics(situation, settings)
    if not situation.windows and not situation.num_labels:
        return Verdict("no_data", "no whole window of predictions and no label yet", metrics)
    reasons, warnings = _reasons(situation, settings), _warnings(situation, settings)
    if not reasons:
        calm = "nothing has changed" if situation.windows else "no whole window of predictions yet, and the labels give no reason"
        return Verdict("alert" if warnings else "nothing", "; ".join(warnings) or calm, metrics)
    drift_augmentation = _drift_augmentation(situation, settings) if situation.usable_labels < labels_needed else None
    against = _objections(situation, settings, 0 if drift_augmentation else labels_needed)
    if against:
        return Verdict("alert", "; ".join([*reasons, *warnings]) + f" — no retraining: {against[0]}", metrics)
    if drift_augmentation:
        reasons.append("labels are too few, so drift augmentation takes their place")
    return Verdict("retrain", "; ".join([*reasons, *warnings]), metrics | {"drift_augmentation": drift_augmentation})


def _reasons(situation: Situation, settings: DecisionSettings) -> list[str]:
    reasons = []
    performance = situation.performance
    threshold = accuracy_threshold(situation, settings)
    if performance.accuracy is not None and performance.fair and threshold is not None and performance.below(threshold):
        reasons.append(
            f"accuracy {performance.accuracy:.1%} ({performance.low:.1%} to {performance.high:.1%}, {performance.count} labels) "
            f"is below {threshold:.1%}"
        )
    violated = _violated(situation, settings)
    damaging = [window for window in violated if window.estimated_loss > settings.max_estimated_loss]
    if len(damaging) >= settings.violated_windows:
        newest = damaging[-1]
        reasons.append(
            f"{len(damaging)} of the last {settings.of_windows} windows drifted ({newest.feature_groups[0].name} first), "
            f"and {_estimate(newest)}"
        )
    if settings.every_hours is not None and situation.now - situation.trained_at >= settings.every_hours * 3600:
        reasons.append(
            f"the model is of {datetime.fromtimestamp(situation.trained_at, UTC):%Y-%m-%d %H:%M} UTC, older than {settings.every_hours:g} hours"
        )
    if settings.new_labels is not None and situation.new_labels >= settings.new_labels:
        reasons.append(f"{situation.new_labels} new labels came")
    return reasons


def _warnings(situation: Situation, settings: DecisionSettings) -> list[str]:
    """List what a user should know although it is no reason to retrain."""
    warnings = []
    violated = _violated(situation, settings)
    harmless = [window for window in violated if window.estimated_loss <= settings.max_estimated_loss]
    if len(violated) >= settings.violated_windows and len(harmless) > len(violated) - settings.violated_windows:
        newest = violated[-1]
        warnings.append(
            f"{len(violated)} of the last {settings.of_windows} windows drifted ({newest.feature_groups[0].name} first), "
            f"by estimate with little harm: {_estimate(newest)}"
        )
    out_of_distribution = [window for window in situation.windows[-settings.of_windows :] if window.out_of_distribution_alarm]
    if len(out_of_distribution) >= settings.violated_windows:
        warnings.append(f"{out_of_distribution[-1].out_of_distribution_share:.0%} of the images are out of distribution")
    if (repeated := _repetition(situation, settings)) is not None:
        warnings.append(repeated)
    if situation.performance.bias is not None:
        warnings.append(situation.performance.bias)
    return warnings


def _estimate(window: Window) -> str:
    """What the estimate without labels is, or that there is none."""
    if not window.has_estimate:
        return "the images are too unlike the known ones for an estimate of accuracy: label some of them"
    estimate = f"{window.estimated_accuracy:.1%}{window.estimated_interval}"
    return f"accuracy is estimated at {estimate} instead of {window.reference_accuracy:.1%}"


def _repetition(situation: Situation, settings: DecisionSettings) -> str | None:
    """A warning where windows suddenly show few scenes, as a stuck camera does; no other metric shows it, since a scene counts once."""
    shares = [window.num_scenes / window.count for window in situation.windows if window.num_scenes is not None]
    before, recent = shares[: -settings.of_windows], shares[-settings.of_windows :]
    usual = quantiles(before)[-1] if len(before) > 1 else 0.0  # the upper quartile: a fault that lasts is not usual soon
    few = [share for share in recent if share * FEWER < usual]
    if len(few) < settings.violated_windows:
        return None
    return f"{few[-1]:.0%} of the newest images show a new scene, instead of some {usual:.0%}: the same images are repeated"


def _objections(situation: Situation, settings: DecisionSettings, labels_needed: int) -> list[str]:
    attempts, now = situation.attempts, situation.now
    objections = []
    if any(attempt.outcome is None for attempt in attempts):
        objections.append("one is under way")
    today = [attempt for attempt in attempts if now - attempt.time < DAY_SECONDS]
    if len(today) >= settings.max_a_day:
        objections.append(f"{len(today)} within a day are the maximum")
    if attempts and now - attempts[-1].time < settings.cool_down_minutes * 60:
        objections.append(
            f"the last one was at {datetime.fromtimestamp(attempts[-1].time, UTC):%H:%M} UTC, and {settings.cool_down_minutes:g} minutes "
            "must pass between two"
        )
    if attempts and not attempts[-1].helped and situation.labels_since < settings.labels_after_failure:
        objections.append(
            f"the last one did not help ({attempts[-1].outcome}), and only {situation.labels_since} labels came since, "
            f"{settings.labels_after_failure} needed"
        )
    if situation.usable_labels < labels_needed:
        objections.append(f"there is nothing new to learn from: {situation.usable_labels} usable labels, {labels_needed} needed")
    return objections


def _drift_augmentation(situation: Situation, settings: DecisionSettings) -> dict[str, float] | None:
    """The factors by which image statistics changed in the violated windows; None where drift augmentation is off or cannot help.

    A change that statistics do not show, such as a new class, cannot be augmented.
    """
    violated = _violated(situation, settings)
    if not settings.drift_augmentation or not violated:
        return None
    before: dict[str, float] = defaultdict(float)
    after: dict[str, float] = defaultdict(float)
    for group in (group for window in violated for group in window.feature_groups):
        if group.name in NAMES and group.before and group.after:
            before[group.name] += group.before
            after[group.name] += group.after
    times = {name: after[name] / before[name] for name in before}
    if not any(abs(math.log(value)) > math.log(1 + LEAST_CHANGE) for value in times.values()):
        return None
    return {name: round(min(max(value, 0.01), 10.0), 3) for name, value in sorted(times.items())}


def _violated(situation: Situation, settings: DecisionSettings) -> list[Window]:
    conclusive = [window for window in situation.windows if window.is_conclusive]
    return [window for window in conclusive[-settings.of_windows :] if window.alarm]


def _metrics(situation: Situation, settings: DecisionSettings) -> dict[str, Any]:
    newest = situation.windows[-1] if situation.windows else None
    performance = situation.performance
    return {
        "windows": len(situation.windows),
        "violated": len(_violated(situation, settings)),
        "drift_p_value": newest.p_value if newest else None,
        "estimated_accuracy": newest.estimated_accuracy if newest and newest.has_estimate else None,
        "estimated_low": newest.estimated_low if newest else None,
        "estimated_high": newest.estimated_high if newest else None,
        "reference_accuracy": newest.reference_accuracy if newest else None,
        "out_of_distribution_share": newest.out_of_distribution_share if newest else None,
        "accuracy": performance.accuracy,
        "accuracy_low": None if performance.accuracy is None else performance.low,
        "accuracy_high": None if performance.accuracy is None else performance.high,
        "accuracy_threshold": None
        if performance.accuracy is None or not performance.fair
        else accuracy_threshold(situation, settings),
        "labels": situation.num_labels,
        "new_labels": situation.new_labels,
        "usable_labels": situation.usable_labels,
        "bias": performance.bias,
        "attempts": len(situation.attempts),
    }
