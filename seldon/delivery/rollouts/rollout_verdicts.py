"""Advance, hold, roll back, or no data: a pure function of the observations, so that a rollout can be replayed."""

from dataclasses import dataclass, field
from math import pi, sqrt
from statistics import NormalDist
from typing import Any, Literal

from imageloop.intervals import difference, e_value, wilson
from seldon.delivery.rollouts.observations import Observation, quantile, share_within
from seldon.delivery.rollouts.quality_evidence import Evidence, by_agreement, by_labels
from seldon.delivery.rollouts.sequential_testing import compare
from seldon.delivery.rollouts.settings import AbTest, JudgeSettings, Watch

STABLE_CONFIDENCE = 0.8  # of the interval of the stable version's usual rates, which are counted from few requests
Decision = Literal["advance", "hold", "rollback", "no_data"]


@dataclass(frozen=True)
class Verdict:
    """A decision, why, and the metrics that led to it. `proof`: the evidence that the candidate is as good, where it advances."""

    decision: Decision
    reason: str
    metrics: dict[str, Any] = field(default_factory=dict)
    proof: str = ""


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
    pairs: tuple[tuple[bool, bool], ...] = (),
    known: Evidence | None = None,
) -> Verdict:
    """Decide on one stage of a rollout: a fault rolls back, and only evidence of quality advances.

    `agreements`: whether both versions predicted the same label, for each image that both got; `alone`: the candidate has all
    traffic; `copied`: both get the same images, whose predictions can be read some time after they are counted; `pairs`: whether
    candidate and stable version were right, for each image that both got and whose label is known; `known`: evidence from before the stage,
    as on test images.
    """
    metrics: dict[str, Any] = {
        "stable": stable.metrics(),
        "candidate": candidate.metrics(),
        "compared": len(agreements),
        "agreement": sum(agreements) / len(agreements) if agreements else None,
        "mix_distance": mix_distance(stable, candidate),
        "elapsed_seconds": round(elapsed_seconds, 1),
    }
    if fault := _fault(stable, candidate, settings):
        return Verdict("rollback", fault, metrics)
    labels = by_labels(stable, candidate, pairs, settings)
    if labels and labels.result == "worse":
        return Verdict("rollback", labels.sentence, metrics)
    differs = _another_mix(stable, candidate, settings) or _disagrees(agreements, settings)
    evidence = [labels, known, None if differs else by_agreement(agreements, settings)]
    if labels and labels.leans_against:  # more labels decide; neither test images, which may be outdated, nor agreement may
        evidence = [labels]
    proof = next((one.sentence for one in evidence if one and one.result == "as good"), None)
    if differs and proof is None and not candidate.judged:
        return Verdict("no_data", f"{differs}, and {_undecided(evidence)} which of the two is right", metrics)
    missing = _missing(stable, agreements, watch, settings, alone=alone, copied=copied)
    enough = candidate.requests >= watch.min_requests and not missing
    if enough and proof is not None and elapsed_seconds >= watch.min_seconds:
        return Verdict("advance", f"{candidate.requests} predictions without a fault; {proof}", metrics, proof)
    if enough and proof is None:
        missing = f", and {_undecided(evidence)} whether it is as good"
    if elapsed_seconds >= watch.max_seconds:
        expected = f"expected {watch.min_requests} predictions in {watch.max_seconds:.0f} s"
        return Verdict("no_data", f"{expected}, got {candidate.requests}{missing}", metrics)
    return Verdict("hold", f"{candidate.requests} of {watch.min_requests} predictions so far{missing}", metrics)


def settle_ab_test(
    verdict: Verdict, stable: Observation, candidate: Observation, strategy: AbTest, elapsed_seconds: float
) -> Verdict:
    """Decide an A/B test by the labelled predictions of both versions, where `verdict` found no fault so far."""
    evidence = compare(stable.judged, candidate.judged, strategy.percent / 100, strategy.false_alarm_rate)
    metrics = verdict.metrics | {"candidate_wrong": evidence.candidate_wrong, "stable_wrong": evidence.stable_wrong}
    reason = (
        f"wrong were {evidence.candidate_wrong} of {len(candidate.judged)} labelled predictions of the candidate, "
        f"{evidence.stable_wrong} of {len(stable.judged)} of the stable version"
    )
    if evidence.better is not None:
        return Verdict("advance" if evidence.better == "candidate" else "rollback", reason, metrics)
    if elapsed_seconds >= strategy.max_seconds:
        return Verdict("no_data", f"not settled: {reason}", metrics)
    return Verdict("hold", reason, metrics)


def _fault(stable: Observation, candidate: Observation, settings: JudgeSettings) -> str | None:
    """What is wrong with the candidate whatever it predicts; None where nothing is."""
    return (
        _too_many_errors(stable, candidate, settings)
        or _refuses_more(stable, candidate, settings)
        or _too_slow(stable, candidate, settings)
    )


def _missing(
    stable: Observation, agreements: tuple[bool, ...], watch: Watch, settings: JudgeSettings, *, alone: bool, copied: bool
) -> str:
    """What the stable version lacks to be compared with."""
    if not alone and stable.requests < min(settings.min_compared, watch.min_requests):
        return f", and {stable.requests} of the stable version to compare with"
    if copied and not agreements:
        return ", and none for an image that the stable version predicted too"
    return ""


def _undecided(evidence: list[Evidence | None]) -> str:
    """Say what was looked at, and decided nothing."""
    looked = "; ".join(one.sentence for one in evidence if one)
    return f"nothing shows ({looked})" if looked else "neither labels nor test images show"


def mix_distance(stable: Observation, candidate: Observation) -> float | None:
    """Total variation between the shares of the classes, from 0 (alike) to 1; None where one has no predictions."""
    one, other = sum(stable.labels.values()), sum(candidate.labels.values())
    if not one or not other:
        return None
    names = stable.labels.keys() | candidate.labels.keys()
    return sum(abs(stable.labels.get(name, 0) / one - candidate.labels.get(name, 0) / other) for name in names) / 2


def _too_many_errors(stable: Observation, candidate: Observation, settings: JudgeSettings) -> str | None:
    """Test the error rate with an e-value, which may be checked every second: a fixed interval is left by chance sooner or later."""
    _, usual = wilson(stable.errors, stable.requests, STABLE_CONFIDENCE) if stable.requests else (0.0, 0.0)
    allowed = usual + settings.max_error_increase
    if e_value(candidate.errors, candidate.requests - candidate.errors, allowed) >= 1 / (1 - settings.confidence):
        return f"{candidate.errors} of {candidate.requests} requests failed ({allowed:.1%} allowed)"
    return None


def _refuses_more(stable: Observation, candidate: Observation, settings: JudgeSettings) -> str | None:
    """Compare the refusals: both get the same kind of images, so a version that refuses more has lost a format, or its limits."""
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
    """Test with an e-value whether more than a twentieth of the responses take longer than allowed: the budget first, then the ratio."""
    candidate_count, stable_count = (int(max(one.buckets.values(), default=0)) for one in (candidate, stable))
    if min(candidate_count, stable_count) < settings.min_compared:
        return None
    _, share = wilson(round(0.95 * stable_count), stable_count, STABLE_CONFIDENCE)
    usual = 1000 * (quantile(stable.buckets, share) or 0.0)
    allowed = max(settings.max_latency_ms, usual * settings.max_latency_ratio, usual + settings.min_latency_increase_ms)
    slower = int(candidate_count - share_within(candidate.buckets, allowed / 1000) * candidate_count)
    if e_value(slower, candidate_count - slower, 0.05) >= 1 / (1 - settings.confidence):
        return (
            f"95 % of its responses took up to {candidate.p95_ms:.0f} ms, the stable version's {stable.p95_ms:.0f} ms "
            f"({slower} of {candidate_count} took more than {allowed:.0f} ms)"
        )
    return None


def _another_mix(stable: Observation, candidate: Observation, settings: JudgeSettings) -> str | None:
    """Subtract the distance that chance alone gives, which grows with the number of classes and shrinks with that of predictions."""
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
        return f"its predictions are distributed differently ({_shares(candidate)} against {_shares(stable)})"
    return None


def _disagrees(agreements: tuple[bool, ...], settings: JudgeSettings) -> str | None:
    if len(agreements) < settings.min_compared:
        return None
    _, high = wilson(sum(agreements), len(agreements), settings.confidence)
    if high < settings.min_agreement:
        return f"it agrees with the stable version on {sum(agreements)} of {len(agreements)} images ({settings.min_agreement:.0%} expected)"
    return None


def _shares(observation: Observation) -> str:
    total = sum(observation.labels.values())
    return ", ".join(f"{name} {count / total:.0%}" for name, count in sorted(observation.labels.items()))
