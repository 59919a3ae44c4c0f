"""May this model serve? A pure function of metrics, so that a decision can be replayed."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from imageloop.intervals import wilson
from imageloop.promotion.calibration import chance_of_error
from imageloop.promotion.champion_comparison import (
    Champion,
    RecentComparison,
    against_best,
    against_champion,
    on_recent,
    paired_difference,
    same_classes,
)
from imageloop.promotion.check_result import Check
from imageloop.promotion.evaluation import Evaluation
from imageloop.promotion.settings import GateSettings
from imageloop.training.classification_metrics import ClassificationScores

ONE_SIDED = 0.9  # the confidence of an interval whose lower end is passed by chance in one of twenty cases
CALIBRATION_ALARM = 0.05  # the rate at which a calibrated model is refused
WORST_CLASS_ALARM = 0.05  # so rarely is a model refused for its worst class though no class is below the limit
Comparison = Literal["no champion", "not verified", "other classes", "nothing unseen", "compared"]
Decision = Literal["advance", "hold", "rollback"]


@dataclass(frozen=True)
class GateVerdict:
    """`advance`, `hold` (evidence is missing: awaits approval) or `rollback` (refused), with the metrics that led to it."""

    decision: Decision
    checks: list[Check]
    champion_version: str | None
    comparison: Comparison

    @property
    def passed(self) -> bool:
        return self.decision == "advance"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def sentence(self) -> str:
        """The verdict in one line."""
        failed = [check for check in self.checks if not check.passed]
        decisive = [check for check in failed if not check.undecided]
        if failed:
            words = "; ".join(f"{check.name} {check.got} (expected {check.expected})" for check in decisive or failed)
            return f"refused: {words}" if decisive else words
        against = {
            "no champion": "the first model: there is no champion to beat",
            "not verified": f"champion {self.champion_version} cannot be verified: not comparable, approval is needed "
            "(if its files are restored, train with --no-cache)",
            "compared": f"not worse than champion {self.champion_version}",
        }
        incomparable = f"not comparable with champion {self.champion_version}"  # a verdict of an earlier release
        return f"passed {len(self.checks)} gates; {against.get(self.comparison, incomparable)}"


def judge(
    evaluation: Evaluation, champion: Champion | None, settings: GateSettings, recent: RecentComparison | None = None
) -> GateVerdict:
    """Check an evaluation against the absolute gates and the champion.

    A model that was trained on feedback data must also be better on recent predictions.
    """
    checks = _absolute_checks(evaluation, settings)
    comparison = _comparison(evaluation, champion)
    if champion is not None:
        checks += _champion_checks(comparison, evaluation, champion, settings)
    if recent is not None:
        checks.append(on_recent(recent, settings))
    failed = [check for check in checks if not check.passed]
    decision: Decision = "advance" if not failed else "hold" if all(check.undecided for check in failed) else "rollback"
    return GateVerdict(decision, checks, champion.version if champion else None, comparison)


def lowered_gates(settings: GateSettings, champions: GateSettings) -> str:
    """Name the gates that are lower than the champion's, in one phrase; empty where none is."""
    lowered = []
    for name in GateSettings.model_fields:
        new, old = (0.0 if value is None else value for value in (getattr(settings, name), getattr(champions, name)))
        if (new < old) if name.startswith("min_") else (new > old):
            lowered.append(f"{name} {getattr(settings, name)} instead of {getattr(champions, name)}")
    return ", ".join(lowered)


def _comparison(evaluation: Evaluation, champion: Champion | None) -> Comparison:
    if champion is None:
        return "no champion"
    if not champion.verified:
        return "not verified"
    if champion.class_names != evaluation.class_names:
        return "other classes"
    return "compared" if champion.predictions is not None else "nothing unseen"


def _champion_checks(comparison: Comparison, evaluation: Evaluation, champion: Champion, settings: GateSettings) -> list[Check]:
    if comparison == "not verified":
        return []  # promotion asks for approval
    if comparison == "other classes":
        return [same_classes(evaluation.class_names, champion)]
    if champion.predictions is None:
        got = f"none: champion {champion.version} was trained on all of them (another data.split.seed)"
        return [Check("test images that did not train the champion", passed=False, expected="some", got=got, undecided=True)]
    checks = [against_champion(paired_difference(evaluation.predictions, champion.predictions), settings.champion_margin)]
    if champion.best is not None and champion.best.version != champion.version:
        accuracy, num_images = evaluation.scores.accuracy, len(evaluation.predictions)
        checks.append(against_best(accuracy, num_images, champion.best, settings.champion_margin))
    return checks


def _absolute_checks(evaluation: Evaluation, settings: GateSettings) -> list[Check]:
    megabytes = evaluation.package_bytes / 2**20
    return [
        _accuracy(evaluation, settings.min_accuracy),
        _worst_recall(evaluation.scores, settings.min_class_recall),
        _calibration(evaluation, settings.max_calibration_error),
        _at_most("package size in MB", megabytes, settings.max_package_megabytes),
        _at_most("milliseconds an image", evaluation.milliseconds_per_image, settings.max_milliseconds_per_image),
    ]


def _accuracy(evaluation: Evaluation, limit: float | None) -> Check:
    """By default a model must beat the class that is most frequent among the test images by more than chance."""
    if limit is not None:
        return _at_least("accuracy", evaluation.scores.accuracy, limit)
    labels, right = evaluation.predictions["label"], evaluation.predictions["right"]
    largest = labels.value_counts(normalize=True)
    share, name, low = float(largest.iloc[0]), str(largest.index[0]), wilson(int(right.sum()), len(right), ONE_SIDED)[0]
    passed = low > share
    better = "more or clearer images, or training.model.backbone, may raise it"
    few = f"{len(right)} test images are too few to prove more than chance: add images"
    advice = "" if passed else f"; {few if right.mean() > share else better}"
    got = f"{right.mean():.4g} of {len(right)} images (lower bound {low:.4g}){advice}"
    expected = f"above {share:.4g}, the share of '{name}', the largest class, by more than chance"
    return Check("accuracy", passed, expected, got, undecided=bool(right.mean() > share))


def _calibration(evaluation: Evaluation, limit: float) -> Check:
    """Fails only where that is more than chance: twenty test images show an error of 0.2 of a model that has none."""
    error = evaluation.calibration_error
    chance = chance_of_error(error, evaluation.predictions["confidence"].to_numpy()) if error > limit else 1.0
    got = f"{error:.4g}" if error <= limit else f"{error:.4g} (p = {chance:.2g})"
    return Check("calibration error", chance > CALIBRATION_ALARM, f"not above {limit:g} by more than chance", got)


def _worst_recall(scores: ClassificationScores, limit: float) -> Check:
    """Fails only where that is more than chance, of as many classes as there are: each has few test images, and some class is the worst."""
    tested = {name: one for name, one in scores.by_class.items() if one.support}
    confidence = 1 - 2 * WORST_CLASS_ALARM / max(1, len(tested))
    upper = {name: wilson(round(one.recall * one.support), one.support, confidence)[1] for name, one in tested.items()}
    name = min(upper, key=lambda name: (upper[name], tested[name].recall), default="")
    recall, high = (tested[name].recall, upper[name]) if name else (1.0, 1.0)
    got = f"{recall:.4g} of {tested[name].support} images (upper bound {high:.4g})" if name else "no class was tested"
    return Check(f"recall of '{name}', the worst class", high >= limit, f"not below {limit:g} by more than chance", got)


def _at_least(name: str, value: float, limit: float) -> Check:
    return Check(name, value >= limit, f"at least {limit:g}", f"{value:.4g}")


def _at_most(name: str, value: float, limit: float) -> Check:
    return Check(name, value <= limit, f"at most {limit:g}", f"{value:.4g}")
