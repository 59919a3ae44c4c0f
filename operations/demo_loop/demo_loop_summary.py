"""What happened in a demo loop, by its requests and windows and not by its plan."""

from collections.abc import Sequence
from dataclasses import dataclass

from imageloop.monitoring.windows import Window
from operations.demo_loop.traffic import SentRequest


@dataclass(frozen=True)
class ScenarioResult:
    """One scenario: its outcome in a sentence, when it began (Unix seconds), and how many seconds it took.

    `headline`: what happened in a few words; `labels_sent`: labels that arrived late.
    """

    title: str
    outcome: str
    begun: float
    seconds: float
    labels_sent: int = 0
    headline: str = ""

    @property
    def end(self) -> float:
        return self.begun + self.seconds


@dataclass(frozen=True)
class DemoLoopSummary:
    """The figures of a demo loop. Accuracies are in [0, 1], of live predictions.

    `images_until_drift`: changed images until the first window with an alarm was full, None where none alarmed; `estimated_accuracy`: the
    mean over the windows of changed images that have an estimate, `estimated_low` and `estimated_high` those of its intervals; `promoted`: the version that a
    retraining promoted, None without one.
    """

    images_until_drift: int | None
    accuracy_before: float
    accuracy_during: float
    estimated_accuracy: float | None
    estimated_low: float | None
    estimated_high: float | None
    accuracy_after: float
    labels: int
    poisoned_labels: int
    poisoned_labels_refused: bool
    promoted: str | None


def accuracy_of(sent: Sequence[SentRequest], scenario: ScenarioResult) -> float:
    """The share of right predictions while the scenario was played."""
    right = [one.right for one in sent if scenario.begun <= one.time < scenario.end]
    return sum(right) / max(1, len(right))


def summarise(results: Sequence[ScenarioResult], sent: Sequence[SentRequest], windows: Sequence[Window]) -> DemoLoopSummary:
    """The figures of the scenarios `unchanged images` to `poisoned labels arrive`."""
    unchanged, changed, labelled, after, poisoned = results[:5]
    during = [window for window in windows if changed.begun < window.start and window.end <= changed.end]
    estimated = [window for window in during if window.has_estimate]
    first = min((window.end for window in during if window.alarm), default=None)
    versions = [[one.version for one in sent if one.time < limit] for limit in (labelled.begun, poisoned.begun)]
    promoted = versions[1][-1] if versions[1][-1] != versions[0][-1] else None
    return DemoLoopSummary(
        images_until_drift=None if first is None else sum(changed.begun <= one.time <= first for one in sent),
        accuracy_before=accuracy_of(sent, unchanged),
        accuracy_during=accuracy_of(sent, changed),
        estimated_accuracy=_mean([window.estimated_accuracy for window in estimated]),
        estimated_low=_mean([window.estimated_low for window in estimated if window.estimated_low is not None]),
        estimated_high=_mean([window.estimated_high for window in estimated if window.estimated_high is not None]),
        accuracy_after=accuracy_of(sent, after),
        labels=labelled.labels_sent,
        poisoned_labels=poisoned.labels_sent,
        poisoned_labels_refused="poisoned" in poisoned.outcome.partition(";")[2],  # before it: how many were sent
        promoted=promoted,
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def headlines(summary: DemoLoopSummary, false_alarms: int) -> list[str]:
    """What happened in each scenario, in a few words. `false_alarms`: windows of unchanged images with an alarm."""
    drift = f"drift after {summary.images_until_drift} images" if summary.images_until_drift else "drift not noticed"
    change = f"{summary.accuracy_after:.0%}, {summary.accuracy_during:.0%} before"
    return [
        f"unchanged images: {false_alarms} false alarms",
        f"changed images: {drift}",
        f"labels: version {summary.promoted} promoted" if summary.promoted else "labels: no version promoted",
        f"{'retrained' if summary.promoted else 'not retrained'}: accuracy {change}",
        f"poisoned labels {'refused' if summary.poisoned_labels_refused else 'believed'}",
        "bad version rolled back",
    ]
