"""How far a share that was counted may lie from the true one."""

from math import hypot, sqrt
from statistics import NormalDist

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
