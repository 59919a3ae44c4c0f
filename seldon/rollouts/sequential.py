"""Which of two versions is right more often, decided at any time one cares to look.

A betting martingale on the sign of discordant answers: under 'equally good' each stream's evidence is a fair game whose wealth
exceeds 1/alpha with probability at most alpha, ever (Ville's inequality). Independent groups are compared in pairs by order of
arrival: of a pair where one version was right and the other wrong, each is as likely to be the right one if both are equally good.
Source: Waudby-Smith and Ramdas, 'Estimating means of bounded random variables by betting', 2024; Ville, 1939.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from classifier.intervals import wealth


@dataclass(frozen=True)
class Evidence:
    """`better`: which version, once that is settled; `strength`: the wealth of the stronger bet (1/alpha settles it)."""

    better: Literal["stable", "candidate"] | None
    pairs: int
    candidate_wins: int
    stable_wins: int
    strength: float


def compare(stable: Sequence[bool], candidate: Sequence[bool], false_alarm_rate: float) -> Evidence:
    """`stable`, `candidate`: right or wrong for each judged answer, in the order of their arrival."""
    wins = losses = 0
    strongest = {"candidate": 1.0, "stable": 1.0}
    for left, right in zip(stable, candidate, strict=False):
        if left == right:
            continue
        wins, losses = wins + right, losses + left
        strongest["candidate"] = max(strongest["candidate"], wealth(wins, losses))
        strongest["stable"] = max(strongest["stable"], wealth(losses, wins))
    needed = 2 / false_alarm_rate  # two bets share the allowance
    leader: Literal["stable", "candidate"] = "candidate" if strongest["candidate"] >= strongest["stable"] else "stable"
    settled = leader if strongest[leader] >= needed else None
    return Evidence(settled, min(len(stable), len(candidate)), wins, losses, strongest[leader])
