"""Compare a candidate with the champion: the classes, the accuracy on the same test images and on recent labelled predictions."""

from dataclasses import dataclass
from math import ceil
from statistics import NormalDist

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from imageloop.intervals import paired_interval, paired_wins
from imageloop.promotion.check_result import Check
from imageloop.promotion.settings import GateSettings

CONFIDENCE = 0.95
Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


@dataclass(frozen=True)
class BestChampion:
    """The champion with the highest accuracy on the same test images, of all that were promoted without a user's approval since the last one."""

    version: str
    accuracy: float


@dataclass(frozen=True)
class Champion:
    """The champion, with its predictions for the candidate's test images that did not train it.

    None if it has other classes, if all test images trained it (another split seed), or if its package cannot be verified.
    `best`: the best champion of the same test images, None where none is known.
    """

    version: str
    class_names: list[str]
    predictions: pd.DataFrame | None
    verified: bool = True
    best: BestChampion | None = None


@dataclass(frozen=True)
class RecentComparison:
    """Whether candidate and champion are right on labelled predictions that trained neither, (N,) each.

    `scenes_N`: equal for images of one scene. `augmented`: on changed copies of the test images, without labels. `attempt`: 1 for
    the first candidate against this champion; each uses the same labels again. `num_gone`: right predictions of the champion whose images
    are gone, so that the candidate cannot predict them.
    """

    candidate_right_N: NDArray[np.bool_]
    champion_right_N: NDArray[np.bool_]
    scenes_N: NDArray[np.intp]
    augmented: bool = False
    attempt: int = 1
    num_gone: int = 0

    @classmethod
    def impossible(cls) -> "RecentComparison":
        """Make the gate of two versions that cannot be compared: the embeddings of the predictions are of one backbone."""
        nothing_N = np.zeros(0, bool)
        return cls(nothing_N, nothing_N, np.zeros(0, np.intp))

    @property
    def where(self) -> str:
        return "changed copies of the test images" if self.augmented else "recent labelled predictions"


@dataclass(frozen=True)
class PairedDifference:
    """Candidate's accuracy minus the champion's on the same images, with its 95 % interval and the number of images."""

    mean: float
    low: float
    high: float
    num_images: int
    num_changed: int

    def images_needed(self, margin: float) -> int:
        """The number of test images with which a candidate that is as good could be proved not worse by `margin`."""
        changed = max(self.num_changed, 1) / max(self.num_images, 1)
        return ceil(changed * (Z / margin) ** 2) if margin > 0 else 0


def paired_difference(candidate: pd.DataFrame, champion: pd.DataFrame) -> PairedDifference:
    """Pair predictions of the same images, by their column `sha256`, and compare the columns `right`."""
    paired = candidate.merge(champion, on="sha256", suffixes=("", "_champion"), validate="one_to_one")
    return difference_of(paired["right"].to_numpy(bool), paired["right_champion"].to_numpy(bool))


def difference_of(candidate_right_N: NDArray[np.bool_], champion_right_N: NDArray[np.bool_]) -> PairedDifference:
    """Compare two models on the same N images."""
    num_images = len(candidate_right_N)
    better, worse = paired_wins(candidate_right_N, champion_right_N)
    low, high = paired_interval(better, worse, num_images, CONFIDENCE)
    return PairedDifference((better - worse) / max(1, num_images), low, high, num_images, better + worse)


def against_champion(difference: PairedDifference, margin: float) -> Check:
    """Pass what is proved not worse by more than the margin, or is not worse at all; refuse what is proved worse.

    What lies between awaits approval: the test images are too few to prove anything.
    """
    got = f"{difference.mean:+.3f} ({difference.low:+.3f} to {difference.high:+.3f}, {difference.num_images} images)"
    passed = difference.low >= -margin or difference.mean >= 0
    undecided = not passed and difference.high >= -margin
    if undecided:
        needed = difference.images_needed(margin)
        got += f", too few to decide: about {needed:,} are needed" if needed else ", which a margin of 0 leaves undecided"
    expected = f"proved above -{margin:.3f}, or at least 0"
    return Check("accuracy minus the champion's", passed, expected, got, undecided=undecided)


def against_best(accuracy: float, num_images: int, best: BestChampion, margin: float) -> Check:
    """Pass what is not below the best champion of the same test images by more than the margin; many small steps lead downhill too."""
    change = accuracy - best.accuracy
    return Check(
        f"accuracy minus that of version {best.version}, the best champion on these test images",
        change >= -margin - 1e-9,
        f"not below -{margin:.3f}",
        f"{change:+.3f} ({num_images} images)",
        undecided=True,
    )


def same_classes(candidate: list[str], champion: Champion) -> Check:
    """A change of classes always awaits approval: clients would get other labels."""
    changes = changed_classes(champion.class_names, candidate)
    return Check(
        "classes differ from the champion's:", candidate == champion.class_names, "the same classes", changes, undecided=True
    )


def changed_classes(before: list[str], after: list[str]) -> str:
    """Name the classes that are added and those that are gone, in one phrase."""
    added, gone = sorted(set(after) - set(before)), sorted(set(before) - set(after))
    parts = [
        f"{word} {', '.join(repr(name) for name in names)}" for word, names in (("added", added), ("removed", gone)) if names
    ]
    return " and ".join(parts) or ("the same in another order" if before != after else "the same")


def on_recent(recent: RecentComparison, settings: GateSettings) -> Check:
    """Passes only where the gain is more than chance: without it there is no reason to replace the champion.

    A sign test over scenes: a hundred frames of one scene are one observation. All attempts against one champion share the p-value. Images that
    are gone count as losses; a gain that these alone put in doubt awaits approval.
    """
    from scipy.stats import binomtest  # half a second to load

    name = f"accuracy on {recent.where} minus the champion's"
    limit = settings.recent_p_value / (recent.attempt * (recent.attempt + 1))
    expected = f"above 0 by more than chance (p at most {limit:.2g}, for it is attempt {recent.attempt} against this champion)"
    if not len(recent.scenes_N):
        return Check(
            name, passed=False, expected=expected, got="no comparison: it sees with another backbone, or knows other classes"
        )
    differences_N = recent.candidate_right_N.astype(float) - recent.champion_right_N.astype(float)
    gains_S = np.bincount(recent.scenes_N, differences_N)
    better, worse, num_scenes = int((gains_S > 0).sum()), int((gains_S < 0).sum()), len(np.unique(recent.scenes_N))

    def p_value_of(losses: int) -> float:
        return float(binomtest(better, better + losses, alternative="greater").pvalue) if better + losses else 1.0

    p_value = p_value_of(worse + recent.num_gone)
    gone = f", and {recent.num_gone} right ones of the champion whose image was not retained" if recent.num_gone else ""
    return Check(
        name,
        p_value <= limit,
        expected,
        f"{differences_N.mean():+.3f} ({recent.candidate_right_N.mean():.3f} instead of {recent.champion_right_N.mean():.3f}, "
        f"{len(differences_N)} of {num_scenes} scenes, {better} better and {worse} worse{gone}, p = {p_value:.2g})",
        undecided=p_value > limit >= p_value_of(worse),
    )
