"""How surely a rollout stops a worse version, and how rarely it stops one that is as good.

make bench-rollouts     simulates canaries of 10 and 50 % with the product's own verdicts; prints a table

Where a case copies requests, a candidate that test images do not show to be as good gets copies of all first, as by default.

A candidate shares most errors with the stable version: it is right on 30 % of the images that the stable version gets wrong, and loses
as many others as its accuracy demands. After drift the stable version's live accuracy has fallen to 55 %, and on the test images,
which have not changed, both are as accurate as before. Wrong predictions fall on any other class, so the mix of classes shows little.
"""

import json
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seldon.delivery.rollouts.compare_on_test_images import TestImageResults
from seldon.delivery.rollouts.observations import Observation
from seldon.delivery.rollouts.quality_evidence import Evidence, by_test_images
from seldon.delivery.rollouts.rollout_verdicts import Verdict, judge
from seldon.delivery.rollouts.settings import JudgeSettings, Watch

ACCURACY, CHANGED_ACCURACY = 0.85, 0.55  # of the stable version
WINS = 0.3  # of the images that the stable version gets wrong
SAME_ERROR = 0.5  # of the images that both get wrong, beyond chance
GAPS = (-0.5, -0.2, -0.1, -0.05, -0.02, 0.0, 0.02, 0.05, 0.1)
CLASSES = (2, 10, 37)
STAGES = (0.1, 0.5)
REQUESTS_A_SECOND, SECONDS_BETWEEN = 20, 5  # between two verdicts
NUM_ROLLOUTS = 500
SETTINGS, WATCH = JudgeSettings(), Watch()
OUTCOMES = ("rolled back before half", "no data before half", "rolled back later", "no data later", "promoted")


@dataclass(frozen=True)
class Case:
    """What is known of a candidate: labels of a share of the requests, and test images. `changed`: the live images did, for both.
    `copies`: of requests, before the candidate gets traffic.
    """

    name: str
    num_test_images: int
    labelled: float
    changed: bool = False
    copies: bool = False


CASES = (
    Case("500 test images", 500, 0),
    Case("150 test images", 150, 0),
    Case("60 test images", 60, 0),
    Case("labels of all requests", 0, 1.0),
    Case("labels of a tenth", 0, 0.1),
    Case("500 test images, labels of all", 500, 1.0),
    Case("after drift, 500 test images", 500, 0, changed=True),
    Case("after drift, 500 test images, labels of all", 500, 1.0, changed=True),
    Case("copies", 0, 0, copies=True),
    Case("copies, 150 test images", 150, 0, copies=True),
    Case("copies, 60 test images", 60, 0, copies=True),
    Case("copies, labels of a tenth", 0, 0.1, copies=True),
)


def main() -> None:
    tasks = [(case, gap, classes) for case in CASES for gap in GAPS for classes in CLASSES]
    with ProcessPoolExecutor() as pool:
        counted = dict(zip(tasks, pool.map(_count, tasks), strict=True))
    print(f"{NUM_ROLLOUTS} rollouts each, {ACCURACY:.0%} accuracy of the stable version; percent:")
    print(f"{'evidence':<48}{'points':>7}{'classes':>8}" + "".join(f"{name:>25}" for name in OUTCOMES))
    for (case, gap, classes), counts in counted.items():
        shares = "".join(f"{100 * counts[name] / NUM_ROLLOUTS:>25.1f}" for name in OUTCOMES)
        print(f"{case.name:<48}{100 * gap:>+7.0f}{classes:>8}{shares}")
    if len(sys.argv) > 1:
        rows = [
            {"evidence": case.name, "points": 100 * gap, "classes": classes} | counts
            for (case, gap, classes), counts in counted.items()
        ]
        Path(sys.argv[1]).write_text(json.dumps(rows, indent=1) + "\n")


def _count(task: tuple[Case, float, int]) -> Counter[str]:
    case, gap, num_classes = task
    rng = np.random.default_rng([CASES.index(case), GAPS.index(gap), num_classes])
    return Counter(_roll_out(case, gap, num_classes, rng) for _ in range(NUM_ROLLOUTS))


def _roll_out(case: Case, gap: float, num_classes: int, rng: np.random.Generator) -> str:
    tested = _tested(case, 0.0 if case.changed else gap, rng)
    if tested is not None and tested.result == "worse":
        return "rolled back before half"
    known = tested
    copied = case.copies and (known is None or known.result != "as good")
    for share in (0.0, *STAGES) if copied else STAGES:
        verdict = _stage(case, gap, num_classes, share, known, rng)
        if verdict.decision != "advance":
            return f"{'rolled back' if verdict.decision == 'rollback' else 'no data'} {'before half' if share < 0.5 else 'later'}"
        known = Evidence("as good", verdict.proof)
    return "promoted"


def _tested(case: Case, gap: float, rng: np.random.Generator) -> Evidence | None:
    stable_N, candidate_N = _both_right(ACCURACY, gap, case.num_test_images, rng)
    return by_test_images(TestImageResults(candidate_N, stable_N, candidate_N), SETTINGS)


def _stage(case: Case, gap: float, num_classes: int, share: float, known: Evidence | None, rng: np.random.Generator) -> Verdict:
    """Judge while requests arrive; a rollout does so once a second. A share of 0: both versions get all of them, the candidate copies."""
    count = int(REQUESTS_A_SECOND * WATCH.max_seconds)
    stable_N, candidate_N = _both_right(CHANGED_ACCURACY if case.changed else ACCURACY, gap, count, rng)
    copied = share == 0
    of_candidate_N, labelled_N = rng.random(count) < share, rng.random(count) < case.labelled
    class_N = rng.integers(num_classes, size=count)
    wrong_N, other_N = ((class_N + rng.integers(1, num_classes, size=count)) % num_classes for _ in range(2))
    other_N = np.where(rng.random(count) < SAME_ERROR, wrong_N, other_N)
    versions = (  # which requests each got, what it predicted, and whether that is right
        (~of_candidate_N, np.where(stable_N, class_N, wrong_N), stable_N),
        (of_candidate_N | copied, np.where(candidate_N, class_N, other_N), candidate_N),
    )
    agree_N = versions[0][1] == versions[1][1]
    verdict = None
    for second in range(SECONDS_BETWEEN, int(WATCH.max_seconds) + 1, SECONDS_BETWEEN):
        seen = slice(second * REQUESTS_A_SECOND)
        stable, candidate = (
            _observation(predicted_N[seen][mine_N[seen]], right_N[seen][(mine_N & labelled_N)[seen]])
            for mine_N, predicted_N, right_N in versions
        )
        agreements, pairs = (), ()
        if copied:
            agreements = tuple(agree_N[seen].tolist())
            pairs = tuple(
                zip(candidate_N[seen][labelled_N[seen]].tolist(), stable_N[seen][labelled_N[seen]].tolist(), strict=True)
            )
        verdict = judge(stable, candidate, agreements, float(second), WATCH, SETTINGS, copied=copied, pairs=pairs, known=known)
        if verdict.decision != "hold":
            break
    return verdict


def _both_right(accuracy: float, gap: float, count: int, rng: np.random.Generator) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether the stable version and the candidate are right on the same images, (N,) each."""
    wins = min(1.0, max(WINS, gap / (1 - accuracy)))
    losses = (wins * (1 - accuracy) - gap) / accuracy
    stable_N = rng.random(count) < accuracy
    return stable_N, np.where(stable_N, rng.random(count) >= losses, rng.random(count) < wins)


def _observation(predicted_N: NDArray[np.int64], judged_N: NDArray[np.bool_]) -> Observation:
    labels = {str(name): int(times) for name, times in enumerate(np.bincount(predicted_N)) if times}
    return Observation(len(predicted_N), 0, labels, None, tuple(judged_N.tolist()))


if __name__ == "__main__":
    main()
