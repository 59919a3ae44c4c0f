"""How far a share that was counted may lie from the true one, and whether it is too large."""

from math import exp, hypot, lgamma, log, sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SMALLEST_SHARE = 1e-6  # of nothing at all any win would be infinite evidence
Interval = tuple[float, float]


def wilson(successes: int, count: int, confidence: float = 0.95) -> Interval:
    """The interval of a share. Source: Wilson, 1927."""
    if count == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / count
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    spread = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return max(0.0, centre - spread), min(1.0, centre + spread)


def difference(successes: tuple[int, int], counts: tuple[int, int], confidence: float = 0.95) -> Interval:
    """The interval of the first share less the second, of independent groups. Source: Newcombe, 1998 (method 10)."""
    if 0 in counts:
        return -1.0, 1.0
    one, other = (success / count for success, count in zip(successes, counts, strict=True))
    (low, high), (other_low, other_high) = (wilson(*pair, confidence) for pair in zip(successes, counts, strict=True))
    return one - other - hypot(one - low, other_high - other), one - other + hypot(high - one, other - other_low)


def paired_wins(one_N: "NDArray[np.bool_]", other_N: "NDArray[np.bool_]") -> tuple[int, int]:
    """On how many of the same N items the first alone is right, and on how many the second alone."""
    return int((one_N & ~other_N).sum()), int((other_N & ~one_N).sum())


def paired_interval(wins: int, losses: int, count: int, confidence: float = 0.95) -> Interval:
    """The interval of the first share less the second, of the same `count` items: the first alone won `wins`, the second `losses`.

    Half an item is added to each of the four cells, so that few items without a difference prove little.
    Source: Agresti and Min, 'Simple improved confidence intervals for comparing matched proportions', 2005.
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    total, gain = count + 2, wins - losses
    spread = z * sqrt(wins + losses + 1 - gain**2 / total) / total
    return max(-1.0, gain / total - spread), min(1.0, gain / total + spread)


def mean_interval(values_N: "NDArray[np.float64]", confidence: float = 0.95) -> Interval:
    """The interval of the mean of N values, of which there are at least two. Source: Student, 1908."""
    from scipy.stats import t

    spread = float(t.ppf((1 + confidence) / 2, len(values_N) - 1) * values_N.std(ddof=1) / sqrt(len(values_N)))
    mean = float(values_N.mean())
    return mean - spread, mean + spread


def e_value(wins: int, losses: int, share: float = 0.5) -> float:
    """The e-value of the claim that wins are more than `share`: it reaches 1/alpha by chance with probability alpha at most, however often it is read.

    A betting martingale, of the mixture of all bets on larger shares with a uniform prior.
    It is the Beta integral B(wins+1, losses+1) * P(Beta > share) / (1-share) over share^wins * (1-share)^losses.
    Source: Waudby-Smith and Ramdas, 'Estimating means of bounded random variables by betting', 2024.
    """
    if share >= 1:
        return 0.0
    share = max(share, SMALLEST_SHARE)
    log_beta = lgamma(wins + 1) + lgamma(losses + 1) - lgamma(wins + losses + 2)
    log_ratio = log_beta - wins * log(share) - losses * log(1 - share)
    return exp(min(700.0, log_ratio)) * _more_than(share, wins, losses) / (1 - share)


def _more_than(share: float, wins: int, losses: int) -> float:
    """P(p > share) for p ~ Beta(wins + 1, losses + 1), which is P(Binomial(wins + losses + 1, share) <= wins)."""
    count = wins + losses + 1
    term, total = count * log(1 - share), 0.0
    for number in range(wins + 1):
        total += exp(term)
        term += log(count - number) - log(number + 1) + log(share) - log(1 - share)
    return min(1.0, total)
