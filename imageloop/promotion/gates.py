"""May this model serve? A pure function of metrics, so that a decision can be replayed."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from imageloop.intervals import wilson
from imageloop.promotion.calibration import chance_of_error
from imageloop.promotion.evaluation import Evaluation
from imageloop.promotion.settings import GateSettings
from imageloop.training.classification_metrics import ClassificationScores

NUM_RESAMPLES = 4000
CALIBRATION_ALARM = 0.05  # the rate at which a calibrated model is refused
WORST_CLASS_ALARM = 0.05  # so rarely is a model refused for its worst class though no class is below the limit
Comparison = Literal["no champion", "not verified", "other classes", "nothing unseen", "compared"]


@dataclass(frozen=True)
class Check:
    """One gate with the expected and the actual value."""

    name: str
    passed: bool
    expected: str
    got: str


@dataclass(frozen=True)
class Champion:
    """The champion, with its predictions for the candidate's test images that did not train it.

    None if it has other classes, if all test images trained it (another split seed), or if its package cannot be verified.
    """

    version: str
    class_names: list[str]
    predictions: pd.DataFrame | None
    verified: bool = True


@dataclass(frozen=True)
class GateVerdict:
    """`advance` or `rollback` (refused; the champion stays), with the metrics that led to it.

    `changed_on_recent`: share of the newest predictions in which candidate and champion differ.
    """

    decision: Literal["advance", "rollback"]
    checks: list[Check]
    champion_version: str | None
    comparison: Comparison
    changed_on_recent: float = 0.0

    @property
    def passed(self) -> bool:
        return self.decision == "advance"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def sentence(self) -> str:
        """The verdict in one line."""
        failed = [f"{check.name} {check.got} (expected {check.expected})" for check in self.checks if not check.passed]
        if failed:
            return "refused: " + "; ".join(failed)
        against = {
            "no champion": "the first model: there is no champion to beat",
            "not verified": f"champion {self.champion_version} cannot be verified: not comparable, approval is needed "
            "(if its files are restored, train with --no-cache)",
            "other classes": f"champion {self.champion_version} knows other classes: not comparable",
            "nothing unseen": f"champion {self.champion_version} was trained on all of these test images: not comparable",
            "compared": f"not proved worse than champion {self.champion_version}",
        }
        return f"passed {len(self.checks)} gates; {against[self.comparison]}"


@dataclass(frozen=True)
class RecentComparison:
    """Whether candidate and champion are right on labelled predictions that trained neither, (N,) each.

    `scenes_N`: equal for images of one scene. `augmented`: on changed copies of the test images, without labels. `changed`: share of
    the newest predictions in which the two differ. `attempt`: 1 for the first candidate against this champion; each uses the same
    labels again.
    """

    candidate_right_N: NDArray[np.bool_]
    champion_right_N: NDArray[np.bool_]
    scenes_N: NDArray[np.intp]
    changed: float
    augmented: bool = False
    attempt: int = 1

    @classmethod
    def impossible(cls) -> "RecentComparison":
        """Make the gate of two versions that cannot be compared: the embeddings of the predictions are of one backbone."""
        nothing_N = np.zeros(0, bool)
        return cls(nothing_N, nothing_N, np.zeros(0, np.intp), 0.0)

    @property
    def where(self) -> str:
        return "changed copies of the test images" if self.augmented else "recent labelled predictions"


def judge(
    evaluation: Evaluation, champion: Champion | None, settings: GateSettings, recent: RecentComparison | None = None
) -> GateVerdict:
    """Check an evaluation against the absolute gates and, if it has the same classes, the champion.

    A model that was trained on feedback data must also be better on recent predictions.
    """
    checks = _absolute_checks(evaluation, settings)
    comparison: Comparison = "no champion"
    if champion is not None:
        comparison = "nothing unseen" if champion.class_names == evaluation.class_names else "other classes"
        if not champion.verified:
            comparison = "not verified"
        if champion.predictions is not None:
            comparison = "compared"
            checks.append(_against_champion(evaluation.predictions, champion.predictions, settings.champion_margin))
    changed = 0.0
    if recent is not None:
        checks.append(_on_recent(recent, settings))
        changed = recent.changed
    decision: Literal["advance", "rollback"] = "advance" if all(check.passed for check in checks) else "rollback"
    return GateVerdict(decision, checks, champion.version if champion else None, comparison, changed)


def paired_difference(candidate: pd.DataFrame, champion: pd.DataFrame, seed: int = 0) -> tuple[float, float, float]:
    """Candidate's accuracy less the champion's on the same images: mean, and its 95 % interval by a paired bootstrap."""
    paired = candidate.merge(champion, on="sha256", suffixes=("", "_champion"), validate="one_to_one")
    differences = paired["right"].to_numpy(float) - paired["right_champion"].to_numpy(float)
    rng = np.random.default_rng(seed)
    # The images differ in one of three ways only, so a resample is one draw of three counts.
    counts = np.array([(differences == value).sum() for value in (-1, 0, 1)])
    draws = rng.multinomial(len(differences), counts / max(1, len(differences)), NUM_RESAMPLES)
    means = (draws[:, 2] - draws[:, 0]) / max(1, len(differences))
    return float(differences.mean()), float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def _absolute_checks(evaluation: Evaluation, settings: GateSettings) -> list[Check]:
    megabytes = evaluation.package_bytes / 2**20
    return [
        _at_least("accuracy", evaluation.scores.accuracy, settings.min_accuracy),
        _worst_recall(evaluation.scores, settings.min_class_recall),
        _calibration(evaluation, settings.max_calibration_error),
        _at_most("package size in MB", megabytes, settings.max_package_megabytes),
        _at_most("milliseconds an image", evaluation.milliseconds_per_image, settings.max_milliseconds_per_image),
    ]


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
    got = f"{recall:.4g} (at most {high:.4g}, of {tested[name].support} images)" if name else "no class was tested"
    return Check(f"recall of '{name}', the worst class", high >= limit, f"not below {limit:g} by more than chance", got)


def _against_champion(candidate: pd.DataFrame, champion: pd.DataFrame, margin: float) -> Check:
    """Fail only if the whole interval is below the margin: few images are no proof against a model."""
    mean, low, high = paired_difference(candidate, champion)
    return Check(
        "accuracy less the champion's",
        high >= -margin,
        f"not below -{margin:.3f} with 95 % confidence",
        f"{mean:+.3f} ({low:+.3f} to {high:+.3f})",
    )


def _on_recent(recent: RecentComparison, settings: GateSettings) -> Check:
    """Passes only where the gain is more than chance: without it there is no reason to replace the champion.

    A sign test over scenes: a hundred frames of one scene are one observation. All attempts against one champion share the p-value.
    """
    from scipy.stats import binomtest  # half a second to load

    name = f"accuracy on {recent.where}, less the champion's"
    limit = settings.recent_p_value / (recent.attempt * (recent.attempt + 1))
    expected = f"above 0 by more than chance (p at most {limit:.2g}, for it is attempt {recent.attempt} against this champion)"
    if not len(recent.scenes_N):
        return Check(
            name, passed=False, expected=expected, got="no comparison: it sees with another backbone, or knows other classes"
        )
    differences_N = recent.candidate_right_N.astype(float) - recent.champion_right_N.astype(float)
    gains_S = np.bincount(recent.scenes_N, differences_N)
    better, worse, num_scenes = int((gains_S > 0).sum()), int((gains_S < 0).sum()), len(np.unique(recent.scenes_N))
    p_value = float(binomtest(better, better + worse, alternative="greater").pvalue) if better + worse else 1.0
    return Check(
        name,
        p_value <= limit,
        expected,
        f"{differences_N.mean():+.3f} ({recent.candidate_right_N.mean():.3f} instead of {recent.champion_right_N.mean():.3f}, "
        f"{len(differences_N)} of {num_scenes} scenes, {better} better and {worse} worse, p = {p_value:.2g})",
    )


def _at_least(name: str, value: float, limit: float) -> Check:
    return Check(name, value >= limit, f"at least {limit:g}", f"{value:.4g}")


def _at_most(name: str, value: float, limit: float) -> Check:
    return Check(name, value <= limit, f"at most {limit:g}", f"{value:.4g}")
