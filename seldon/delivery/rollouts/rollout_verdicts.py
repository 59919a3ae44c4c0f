"""Advance, hold, roll back, or no data: a pure function of what was seen, so that a rollout can be replayed."""

from dataclasses import dataclass, field
from math import pi, sqrt
from statistics import NormalDist
from typing import Any, Literal

from imageloop.intervals import difference, wealth, wilson
from seldon.delivery.rollouts.observations import Observation, quantile, share_within
from seldon.delivery.rollouts.settings import JudgeSettings, Watch

STABLE_CONFIDENCE = 0.8  # of the interval of what the stable version usually does: what was counted may be too little
Decision = Literal["advance", "hold", "rollback", "no_data"]


@dataclass(frozen=True)
class Verdict:
    """A decision, why, and the figures that led to it."""

    decision: Decision
    reason: str
    figures: dict[str, Any] = field(default_factory=dict)


def judge(
    stable: Observation,
    candidate: Observation,
    agreements: tuple[bool, ...],
    elapsed_seconds: float,
    watch: Watch,
    settings: JudgeSettings,
    *,
    alone: bool = False,
    copied: bool = False,
) -> Verdict:
    """`agreements`: for each picture that both versions answered, whether they said the same; `alone`: the candidate has all traffic;
    `copied`: both are sent the same pictures, and what they say of them is read, some time after it is counted.
    """
    figures: dict[str, Any] = {
        "stable": stable.figures(),
        "candidate": candidate.figures(),
        "compared": len(agreements),
        "agreement": sum(agreements) / len(agreements) if agreements else None,
        "mix_distance": mix_distance(stable, candidate),
        "elapsed_seconds": round(elapsed_seconds, 1),
    }
    fault = (
        _too_many_errors(stable, candidate, settings)
        or _refuses_more(stable, candidate, settings)
        or _too_slow(stable, candidate, settings)
        or _another_mix(stable, candidate, settings)
        or _disagrees(agreements, settings)
        or _less_accurate(stable, candidate, settings)
    )
    if fault:
        return Verdict("rollback", fault, figures)
    missing = ""
    if not alone and stable.requests < min(settings.min_compared, watch.min_requests):
        missing = f", and {stable.requests} of the stable version to compare with"
    elif copied and not agreements:
        missing = ", and none to a picture that the stable version answered too"
    if candidate.requests >= watch.min_requests and elapsed_seconds >= watch.min_seconds and not missing:
        return Verdict("advance", f"{candidate.requests} answers, and nothing against it", figures)
    if elapsed_seconds >= watch.max_seconds:
        wanted = f"wanted {watch.min_requests} answers in {watch.max_seconds:.0f} s"
        return Verdict("no_data", f"{wanted}, found {candidate.requests}{missing}", figures)
    return Verdict("hold", f"{candidate.requests} of {watch.min_requests} answers so far{missing}", figures)


def mix_distance(stable: Observation, candidate: Observation) -> float | None:
    """Total variation between the shares of the classes, from 0 (alike) to 1; None where one has not answered."""
    one, other = sum(stable.labels.values()), sum(candidate.labels.values())
    if not one or not other:
        return None
    names = stable.labels.keys() | candidate.labels.keys()
    return sum(abs(stable.labels.get(name, 0) / one - candidate.labels.get(name, 0) / other) for name in names) / 2


def _too_many_errors(stable: Observation, candidate: Observation, settings: JudgeSettings) -> str | None:
    """By a test that may be asked every second: an interval of one look is left by chance sooner or later."""
    _, usual = wilson(stable.errors, stable.requests, STABLE_CONFIDENCE) if stable.requests else (0.0, 0.0)
    allowed = usual + settings.max_error_increase
    if wealth(candidate.errors, candidate.requests - candidate.errors, allowed) >= 1 / (1 - settings.confidence):
        return f"{candidate.errors} of {candidate.requests} answers failed ({allowed:.1%} allowed)"
    return None


def _refuses_more(stable: Observation, candidate: Observation, settings: JudgeSettings) -> str | None:
    """Both are sent the same kind of pictures: one that refuses more has lost a format, or its limits."""
    counts = candidate.requests, stable.requests
    if min(counts) < settings.min_compared:
        return None
    low, _ = difference((candidate.refused, stable.refused), counts, settings.confidence)
    if low > settings.max_error_increase:
        return (
            f"it refused {candidate.refused} of {counts[0]} requests, the stable version {stable.refused} of {counts[1]} (at least {low:.1%} more; "
            f"{settings.max_error_increase:.1%} allowed)"
        )
    return None


def _too_slow(stable: Observation, candidate: Observation, settings: JudgeSettings) -> str | None:
    """Whether more than a twentieth of its answers take longer than is allowed, by a test that may be asked every second."""
    answers, known = (int(max(one.buckets.values(), default=0)) for one in (candidate, stable))
    if min(answers, known) < settings.min_compared:
        return None
    _, share = wilson(round(0.95 * known), known, STABLE_CONFIDENCE)
    usual = 1000 * (quantile(stable.buckets, share) or 0.0)
    allowed = max(usual * settings.max_latency_ratio, usual + settings.min_latency_increase_ms)
    slower = int(answers - share_within(candidate.buckets, allowed / 1000) * answers)
    if wealth(slower, answers - slower, 0.05) >= 1 / (1 - settings.confidence):
        return (
            f"95 % of its answers took up to {candidate.p95_ms:.0f} ms, the stable version's {stable.p95_ms:.0f} ms "
            f"({slower} of {answers} took more than {allowed:.0f} ms)"
        )
    return None


def _another_mix(stable: Observation, candidate: Observation, settings: JudgeSettings) -> str | None:
    """The distance that chance alone gives grows with the number of classes, and shrinks with that of answers: it is taken off."""
    distance = mix_distance(stable, candidate)
    counts = sum(stable.labels.values()), sum(candidate.labels.values())
    if distance is None or min(counts) < settings.min_compared:
        return None
    each = 1 / counts[0] + 1 / counts[1]
    shares = [
        (stable.labels.get(name, 0) + candidate.labels.get(name, 0)) / sum(counts) for name in stable.labels | candidate.labels
    ]
    expected = sum(sqrt(2 / pi * share * (1 - share) * each) for share in shares) / 2
    spread = sqrt((1 - 2 / pi) * each) / 2  # at most, of a sum of absolute normal deviations
    chance = expected + NormalDist().inv_cdf((1 + settings.confidence) / 2) * spread
    if distance - chance > settings.max_mix_distance:
        return f"its answers are distributed otherwise ({_shares(candidate)} against {_shares(stable)})"
    return None


def _disagrees(agreements: tuple[bool, ...], settings: JudgeSettings) -> str | None:
    if len(agreements) < settings.min_compared:
        return None
    _, high = wilson(sum(agreements), len(agreements), settings.confidence)
    if high < settings.min_agreement:
        return f"it agrees with the stable version on {sum(agreements)} of {len(agreements)} pictures ({settings.min_agreement:.0%} wanted)"
    return None


def _less_accurate(stable: Observation, candidate: Observation, settings: JudgeSettings) -> str | None:
    counts = len(candidate.judged), len(stable.judged)
    if min(counts) < settings.min_compared:
        return None
    right = sum(candidate.judged), sum(stable.judged)
    _, high = difference(right, counts, settings.confidence)
    if high < -settings.max_accuracy_loss:
        return (
            f"by feedback it is right in {right[0]} of {counts[0]} answers, the stable version in {right[1]} of {counts[1]}:"
            f" at least {-high:.1%} less ({settings.max_accuracy_loss:.0%} allowed)"
        )
    return None


def _shares(observation: Observation) -> str:
    total = sum(observation.labels.values())
    return ", ".join(f"{name} {count / total:.0%}" for name, count in sorted(observation.labels.items()))
