"""Which of two versions is right more often, decided at any time one cares to look.

A betting martingale on the sign of discordant answers: under 'equally good' each stream's evidence is a fair game whose wealth
exceeds 1/alpha with probability at most alpha, ever (Ville's inequality). Independent groups are compared in pairs by order of
arrival: of a pair where one version was right and the other wrong, each is as likely to be the right one if both are equally good.
Source: Waudby-Smith and Ramdas, 'Estimating means of bounded random variables by betting', 2024; Ville, 1939.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, lgamma, log
from typing import Literal


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
        strongest["candidate"] = max(strongest["candidate"], _wealth(wins, losses))
        strongest["stable"] = max(strongest["stable"], _wealth(losses, wins))
    needed = 2 / false_alarm_rate  # two bets share the allowance
    leader: Literal["stable", "candidate"] = "candidate" if strongest["candidate"] >= strongest["stable"] else "stable"
    settled = leader if strongest[leader] >= needed else None
    return Evidence(settled, min(len(stable), len(candidate)), wins, losses, strongest[leader])


def _wealth(wins: int, losses: int) -> float:
    """Of the mixture of all bets on 'wins more than half', with a uniform prior over (1/2, 1].

    It is the Beta integral 2 * B(wins+1, losses+1) * P(Beta > 1/2) over the fair coin's 2^-(wins+losses).
    """
    count = wins + losses
    log_beta = lgamma(wins + 1) + lgamma(losses + 1) - lgamma(count + 2)
    return 2 * exp(min(700.0, log_beta + count * log(2))) * _more_than_half(wins, losses)


def _more_than_half(wins: int, losses: int) -> float:
    """P(p > 1/2) for p ~ Beta(wins + 1, losses + 1), which is P(Binomial(count + 1, 1/2) <= wins)."""
    count = wins + losses + 1
    term, total = -count * log(2), 0.0
    for number in range(wins + 1):
        total += exp(term)
        term += log(count - number) - log(number + 1)
    return min(1.0, total)
