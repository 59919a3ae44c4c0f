"""Decide what follows from a measurement: a pure function, so that every decision can be replayed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from imageloop.monitoring.decision_input import DecisionInput
from imageloop.monitoring.findings import (
    DAY_SECONDS,
    Finding,
    accuracy_threshold,
    calm,
    drift_augmentation_for,
    reasons_to_retrain,
    violated_windows,
    warnings_of,
)
from imageloop.monitoring.settings import DecisionSettings

Action = Literal["retrain", "alert", "nothing", "no_data"]
NO_DATA = "{} predictions and no label came so far, and a comparison with the training images takes {} predictions."
WAIT = "Nothing has to be done: the monitor decides when there are more."
NOTHING_TO_DO = "Nothing has to be done."
LOOK = "The monitor only alerts: look at the newest images, and label some of them to learn more."
WITH_LABELS = "A new version is trained on what can be believed of {} labels, and serves only if it is better on labels that it was not trained on."
WITH_COPIES = "Labels are too few, so a new version is trained on copies of its images that are changed alike, and serves only if it is better on such copies."


@dataclass(frozen=True)
class Verdict:
    """A decision with its reason and its metrics; `explanation`: two sentences for an engineer without statistics."""

    action: Action
    reason: str
    metrics: dict[str, Any] = field(default_factory=dict)
    explanation: str = ""


def decide(situation: DecisionInput, settings: DecisionSettings, labels_needed: int) -> Verdict:
    """Retrain for a reason without an objection; alert on everything that a user should know."""
    metrics = _metrics(situation, settings)
    if not situation.windows and not situation.num_labels:
        explanation = f"{NO_DATA.format(situation.num_predictions, situation.window_size)} {WAIT}"
        return Verdict("no_data", "no whole window of predictions and no label yet", metrics, explanation)
    reasons, warnings = reasons_to_retrain(situation, settings), warnings_of(situation, settings)
    if not reasons:
        found = warnings or [calm(situation)]
        explanation = f"{found[0].sentence} {LOOK if warnings else NOTHING_TO_DO}"
        return Verdict("alert" if warnings else "nothing", _lines(found), metrics, explanation)
    augmentation = drift_augmentation_for(situation, settings) if situation.usable_labels < labels_needed else None
    against = _objections(situation, settings, 0 if augmentation else labels_needed)
    found, first = [*reasons, *warnings], reasons[0].sentence
    if against:
        explanation = f"{first} It is not retrained: {against[0]}."
        return Verdict("alert", f"{_lines(found)} — no retraining: {against[0]}", metrics, explanation)
    if augmentation:
        found.insert(len(reasons), Finding("labels are too few, so drift augmentation takes their place", ""))
    explanation = f"{first} {WITH_COPIES if augmentation else WITH_LABELS.format(situation.usable_labels)}"
    return Verdict("retrain", _lines(found), metrics | {"drift_augmentation": augmentation}, explanation)


def _lines(found: Sequence[Finding]) -> str:
    return "; ".join(finding.line for finding in found)


def _objections(situation: DecisionInput, settings: DecisionSettings, labels_needed: int) -> list[str]:
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


def _metrics(situation: DecisionInput, settings: DecisionSettings) -> dict[str, Any]:
    newest = situation.windows[-1] if situation.windows else None
    performance = situation.performance
    return {
        "windows": len(situation.windows),
        "violated": len(violated_windows(situation.windows, settings)),
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
