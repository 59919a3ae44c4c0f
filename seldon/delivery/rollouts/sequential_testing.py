"""Which of two versions is correct more often, a test that is valid at any time.

Chance sends each request to one of the two. While both are equally good, a wrong prediction is the candidate's as often as a request is,
and so is a correct one, however hard the images are; the evidence against that exceeds 1/alpha with probability at most alpha,
ever. Predictions of the two need not come in pairs, nor in any order.
Source: Ville, 1939; Waudby-Smith and Ramdas, 'Estimating means of bounded random variables by betting', 2024.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from imageloop.intervals import e_value


@dataclass(frozen=True)
class Evidence:
    """`better`: which version, once that is settled; `strength`: the evidence for the stronger one (2/alpha settles it)."""

    better: Literal["stable", "candidate"] | None
    candidate_wrong: int
    stable_wrong: int
    strength: float


def compare(stable: Sequence[bool], candidate: Sequence[bool], share: float, false_alarm_rate: float) -> Evidence:
    """`stable`, `candidate`: whether each prediction with feedback was correct; `share`: of all requests, within (0, 1), that the candidate gets."""
    right, right_candidate = sum(stable), sum(candidate)
    wrong, wrong_candidate = len(stable) - right, len(candidate) - right_candidate
    strength = {  # each the mean of two bets: on the wrong predictions, which say more about good versions, and on the correct ones
        "candidate": (e_value(wrong, wrong_candidate, 1 - share) + e_value(right_candidate, right, share)) / 2,
        "stable": (e_value(wrong_candidate, wrong, share) + e_value(right, right_candidate, 1 - share)) / 2,
    }
    leader: Literal["stable", "candidate"] = "candidate" if strength["candidate"] >= strength["stable"] else "stable"
    settled = leader if strength[leader] >= 2 / false_alarm_rate else None  # two directions share the allowance
    return Evidence(settled, wrong_candidate, wrong, strength[leader])
