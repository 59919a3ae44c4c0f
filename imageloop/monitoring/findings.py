"""What a measurement shows: reasons to retrain, and warnings. Each is one line with its figures, and a sentence without statistics."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import quantiles

from imageloop.data.image_statistics import NAMES
from imageloop.monitoring.decision_input import DecisionInput
from imageloop.monitoring.settings import DecisionSettings
from imageloop.monitoring.windows import Window

FEWER = 5  # times fewer scenes than usual: something repeats itself
PLAIN_NAMES = {"embedding": "what they show", "predictions": "what is predicted for them", "format": "their file format"}
MAX_AHEAD_HOURS = 0.1
DAY_SECONDS = 86_400.0
LEAST_CHANGE = 0.1  # of a statistic: less is no change that a copy could reproduce


@dataclass(frozen=True)
class Finding:
    """`line`: what was found, with its figures; `sentence`: the same for an engineer without statistics."""

    line: str
    sentence: str


def accuracy_threshold(situation: DecisionInput, settings: DecisionSettings) -> float | None:
    """The accuracy below which a model is retrained: as set, else what the served version showed on its test images less a margin.

    Few test images may flatter a model: the margin is no smaller than the half width of their interval.
    """
    if settings.min_accuracy is not None or situation.test_accuracy is None:
        return settings.min_accuracy
    threshold = situation.test_accuracy - max(settings.accuracy_margin, situation.test_error)
    return threshold if threshold > 0 else None


def reasons_to_retrain(situation: DecisionInput, settings: DecisionSettings) -> list[Finding]:
    """List what calls for another model."""
    reasons = []
    performance = situation.performance
    threshold = accuracy_threshold(situation, settings)
    if performance.accuracy is not None and performance.fair and threshold is not None and performance.below(threshold):
        line = (
            f"accuracy {performance.accuracy:.1%} ({performance.low:.1%} to {performance.high:.1%}, {performance.count} labels) "
            f"is below {threshold:.1%}"
        )
        sentence = (
            f"Of the last {performance.count} images with a label {performance.accuracy:.0%} were predicted right, and at least {threshold:.0%} are "
            "expected."
        )
        reasons.append(Finding(line, sentence))
    violated = violated_windows(situation.windows, settings)
    damaging = [window for window in violated if window.estimated_loss > settings.max_estimated_loss]
    if len(damaging) >= settings.violated_windows:
        newest = damaging[-1]
        reasons.append(
            Finding(
                f"{_drifted(damaging, settings)}, and {_estimate(newest)}", f"{_differ(newest)}, and {_plain_estimate(newest)}."
            )
        )
    if settings.every_hours is not None and situation.now - situation.trained_at >= settings.every_hours * 3600:
        line = f"the model is of {datetime.fromtimestamp(situation.trained_at, UTC):%Y-%m-%d %H:%M} UTC, older than {settings.every_hours:g} hours"
        reasons.append(
            Finding(
                line, f"The model is older than {settings.every_hours:g} hours, after which the settings ask for another one."
            )
        )
    if settings.new_labels is not None and situation.new_labels >= settings.new_labels:
        line = f"{situation.new_labels} new labels came"
        reasons.append(
            Finding(
                line,
                f"{situation.new_labels} images were labelled since the model was trained, and the settings ask for another one from {settings.new_labels} on.",
            )
        )
    return reasons


def warnings_of(situation: DecisionInput, settings: DecisionSettings) -> list[Finding]:
    """List what a user should know although it is no reason to retrain."""
    warnings = []
    violated = violated_windows(situation.windows, settings)
    harmless = [window for window in violated if window.estimated_loss <= settings.max_estimated_loss]
    if len(violated) >= settings.violated_windows and len(harmless) > len(violated) - settings.violated_windows:
        newest = violated[-1]
        line = f"{_drifted(violated, settings)}, by estimate with little harm: {_estimate(newest)}"
        fewer = "hardly fewer" if newest.estimated_loss > 0 else "no fewer"
        harm = (
            f"but by estimate {fewer} predictions are right than usual"
            if newest.has_estimate
            else f"and {_plain_estimate(newest)}"
        )
        warnings.append(Finding(line, f"{_differ(newest)}, {harm}."))
    out_of_distribution = [window for window in situation.windows[-settings.of_windows :] if window.out_of_distribution_alarm]
    if len(out_of_distribution) >= settings.violated_windows:
        share = f"{out_of_distribution[-1].out_of_distribution_share:.0%}"
        sentence = f"{share} of the newest images resemble none of the training images: they may show something that the model does not know."
        warnings.append(Finding(f"{share} of the images are out of distribution", sentence))
    ahead_hours = (situation.windows[-1].end - situation.now) / 3600 if situation.windows else 0.0
    if ahead_hours > MAX_AHEAD_HOURS:
        line = (
            f"the newest predictions are {ahead_hours:.1f} hours in the future: clocks differ, and no window follows until then"
        )
        warnings.append(
            Finding(line, "The service's clock is ahead of this one, so new predictions are not compared: set both right.")
        )
    if (repeated := _repetition(situation, settings)) is not None:
        warnings.append(
            Finding(repeated, "The newest images show the same few scenes again and again, as a camera does that is stuck.")
        )
    if situation.performance.bias is not None:
        sentence = f"The accuracy by labels cannot be trusted: {situation.performance.bias}."
        warnings.append(Finding(situation.performance.bias, sentence))
    return warnings


def calm(situation: DecisionInput) -> Finding:
    """What to say where there is nothing to report."""
    if not situation.windows:
        line = "no whole window of predictions yet, and the labels give no reason"
        return Finding(
            line,
            "There are too few predictions yet to compare with the training images, and the labels give no reason to retrain.",
        )
    newest, performance = situation.windows[-1], situation.performance
    if newest.alarm:
        return Finding("nothing has changed", f"{_differ(newest)}, as now and then happens by chance: more windows decide.")
    labelled = (
        ""
        if performance.accuracy is None
        else f", and {performance.accuracy:.0%} of the newest {performance.count} images with a label were predicted right"
    )
    days = (situation.now - newest.end) / DAY_SECONDS
    ago = f", which came {days:.0f} days ago," if days >= 1 else ""
    sentence = f"The last {newest.count} images{ago} look like those that the model was trained on{labelled}."
    return Finding("nothing has changed", sentence)


def _drifted(windows: list[Window], settings: DecisionSettings) -> str:
    return f"{len(windows)} of the last {settings.of_windows} windows drifted ({windows[-1].feature_groups[0].name} first)"


def _differ(window: Window) -> str:
    name = window.feature_groups[0].name
    return f"The newest images differ from those that the model was trained on, most clearly in {PLAIN_NAMES.get(name, f'their {name}')}"


def _plain_estimate(window: Window) -> str:
    if not window.has_estimate:
        return "are so unlike them that nobody can say without labels how many predictions are still right"
    return f"by estimate {window.estimated_accuracy:.0%}{window.estimated_interval} of the predictions are right instead of {window.reference_accuracy:.0%}"


def _estimate(window: Window) -> str:
    """What the estimate without labels is, or that there is none."""
    if not window.has_estimate:
        return "the images are too unlike the known ones for an estimate of accuracy: label some of them"
    estimate = f"{window.estimated_accuracy:.1%}{window.estimated_interval}"
    return f"accuracy is estimated at {estimate} instead of {window.reference_accuracy:.1%}"


def _repetition(situation: DecisionInput, settings: DecisionSettings) -> str | None:
    """A warning where windows suddenly show few scenes, as a stuck camera does; no other metric shows it, since a scene counts once."""
    shares = [window.num_scenes / window.count for window in situation.windows if window.num_scenes is not None]
    before, recent = shares[: -settings.of_windows], shares[-settings.of_windows :]
    usual = quantiles(before)[-1] if len(before) > 1 else 0.0  # the upper quartile: a fault that lasts is not usual soon
    few = [share for share in recent if share * FEWER < usual]
    if len(few) < settings.violated_windows:
        return None
    return f"{few[-1]:.0%} of the newest images show a new scene, instead of some {usual:.0%}: the same images are repeated"


def drift_augmentation_for(situation: DecisionInput, settings: DecisionSettings) -> dict[str, float] | None:
    """The factors by which image statistics changed in the violated windows; None where drift augmentation is off or cannot help.

    A change that statistics do not show, such as a new class, cannot be augmented.
    """
    violated = violated_windows(situation.windows, settings)
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


def violated_windows(windows: Sequence[Window], settings: DecisionSettings) -> list[Window]:
    """Those of the newest conclusive windows that alarmed."""
    conclusive = [window for window in windows if window.is_conclusive]
    return [window for window in conclusive[-settings.of_windows :] if window.alarm]
