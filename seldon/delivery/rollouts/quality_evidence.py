"""What is known about a candidate's quality beside the stable version: by test images, by labels, by agreement on the same images.

A candidate is 'worse' where that is proved, 'as good' where a larger loss than a margin is ruled out, or the point estimate of enough
test images is no lower; else it is 'undecided', and only more images decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from imageloop.intervals import Interval, difference, paired_interval, paired_wins, wilson
from seldon.delivery.rollouts.compare_on_test_images import TestImageResults
from seldon.delivery.rollouts.observations import Observation
from seldon.delivery.rollouts.settings import JudgeSettings

AS_GOOD_CONFIDENCE = 0.95
LOOKS = 5  # labels are compared every second, by which chance errs as often as in about five independent comparisons
Result = Literal["worse", "as good", "undecided"]


class Intervals(NamedTuple):
    """Candidate's accuracy minus the stable version's: with the confidence that proves a loss, and with the usual one."""

    proof: Interval
    usual: Interval


@dataclass(frozen=True)
class Evidence:
    """One comparison: its result, the sentence that says it with numbers, and whether the point estimate is a loss beyond the allowed one."""

    result: Result
    sentence: str
    leans_against: bool = False


def by_test_images(results: TestImageResults, settings: JudgeSettings) -> Evidence | None:
    """Hold the candidate against its own evaluation, and against the stable version on the same images; None without images."""
    count, right = len(results.candidate_right_N), int(results.candidate_right_N.sum())
    if not count:
        return None
    registered = int(results.registered_right_N.sum())
    better, worse = paired_wins(results.candidate_right_N, results.registered_right_N)
    if paired_interval(better, worse, count, settings.confidence)[1] < -settings.max_accuracy_loss:
        return Evidence("worse", f"it is right on {right} of {count} test images, and was on {registered} when it was evaluated")
    if results.stable_right_N is None:
        return Evidence("as good", f"it is right on {right} of {count} test images, {registered} when it was evaluated")
    stable = int(results.stable_right_N.sum())
    better, worse = paired_wins(results.candidate_right_N, results.stable_right_N)
    intervals = Intervals(*(paired_interval(better, worse, count, share) for share in (settings.confidence, AS_GOOD_CONFIDENCE)))
    sentence = f"it is right on {right} of {count} test images, the stable version on {stable}"
    found = _result(intervals, settings)
    if found == "undecided" and better >= worse and count >= settings.min_compared:
        return Evidence("as good", sentence)
    return Evidence(found, sentence + _bounds(found, intervals, settings))


def by_labels(
    stable: Observation, candidate: Observation, pairs: Sequence[tuple[bool, bool]], settings: JudgeSettings
) -> Evidence | None:
    """Compare by feedback; None with little of it. `pairs`: whether candidate and stable version were right on the same labelled image."""
    confidences = [1 - (1 - confidence) / LOOKS for confidence in (settings.confidence, AS_GOOD_CONFIDENCE)]
    if len(pairs) >= settings.min_compared:
        candidate_right, stable_right = np.array(pairs, bool).T
        wins, counts = paired_wins(candidate_right, stable_right), (len(pairs), len(pairs))
        right = int(candidate_right.sum()), int(stable_right.sum())
        intervals = Intervals(*(paired_interval(*wins, len(pairs), share) for share in confidences))
    else:
        counts = len(candidate.judged), len(stable.judged)
        if min(counts) < settings.min_compared:
            return None
        right = sum(candidate.judged), sum(stable.judged)
        intervals = Intervals(*(difference(right, counts, share) for share in confidences))
    sentence = (
        f"by feedback it is right in {right[0]} of {counts[0]} predictions, the stable version in {right[1]} of {counts[1]}"
    )
    found, estimate = _result(intervals, settings), right[0] / counts[0] - right[1] / counts[1]
    return Evidence(found, sentence + _bounds(found, intervals, settings), estimate < -settings.max_accuracy_loss)


def by_agreement(agreements: Sequence[bool], settings: JudgeSettings) -> Evidence | None:
    """Compare predictions for the same images: where nearly all agree, no large loss is possible. Disagreement alone proves nothing."""
    if len(agreements) < settings.min_compared:
        return None
    low, _ = wilson(sum(agreements), len(agreements), AS_GOOD_CONFIDENCE)
    sentence = f"it agrees with the stable version on {sum(agreements)} of {len(agreements)} images"
    return Evidence("as good" if low >= 1 - settings.accuracy_margin else "undecided", sentence)


def _result(intervals: Intervals, settings: JudgeSettings) -> Result:
    if intervals.proof[1] < -settings.max_accuracy_loss:
        return "worse"
    return "as good" if intervals.usual[0] >= -settings.accuracy_margin else "undecided"


def _bounds(result: Result, intervals: Intervals, settings: JudgeSettings) -> str:
    if result == "worse":
        return f": at least {-intervals.proof[1]:.1%} less ({settings.max_accuracy_loss:.0%} allowed)"
    if result == "undecided":
        return f", which does not rule out a loss of {-intervals.usual[0]:.0%}"
    return ""
