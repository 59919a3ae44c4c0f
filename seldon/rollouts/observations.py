"""What a predictor did in a while: differences of the counters that its replicas tell Prometheus."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

ANSWERING = ("/predict", "/explain", "/api/v1.0/predictions", "/api/v0.1/predictions")


@dataclass(frozen=True)
class Counters:
    """Sums over the replicas of one predictor. `buckets`: answers within so many seconds, cumulative."""

    requests: float = 0.0
    errors: float = 0.0
    labels: dict[str, float] = field(default_factory=dict)
    buckets: dict[float, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Observation:
    """One predictor in one window. `judged`: whether each answer with feedback was right."""

    requests: int
    errors: int
    labels: dict[str, int]
    p95_ms: float | None
    judged: tuple[bool, ...] = ()

    @property
    def error_rate(self) -> float:
        return self.errors / self.requests if self.requests else 0.0

    def figures(self) -> dict[str, float | int | None]:
        """For logs, ZenML and MLflow."""
        right = sum(self.judged) / len(self.judged) if self.judged else None
        return {
            "requests": self.requests,
            "error_rate": self.error_rate,
            "p95_ms": self.p95_ms,
            "judged": len(self.judged),
            "accuracy": right,
        }


def read_counters(expositions: Iterable[str]) -> Counters:
    """Add up what replicas say. An answer of 5xx is an error; one of 4xx is the caller's."""
    requests = errors = 0.0
    labels: dict[str, float] = {}
    buckets: dict[float, float] = {}
    for text in expositions:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == "imageloop_requests_total" and sample.labels["route"] in ANSWERING:
                    requests += sample.value
                    errors += sample.value if sample.labels["code"].startswith("5") else 0
                elif sample.name == "imageloop_predictions_total":
                    labels[sample.labels["label"]] = labels.get(sample.labels["label"], 0) + sample.value
                elif sample.name == "imageloop_request_seconds_bucket":
                    bound = float(sample.labels["le"])
                    buckets[bound] = buckets.get(bound, 0) + sample.value
    return Counters(requests, errors, labels, buckets)


def between(before: Counters, after: Counters, judged: Iterable[bool] = ()) -> Observation:
    """What happened from one reading to the next; a replica that started again counts from nothing, which is never below zero."""
    labels = {label: int(max(0, count - before.labels.get(label, 0))) for label, count in after.labels.items()}
    buckets = {bound: max(0.0, count - before.buckets.get(bound, 0)) for bound, count in after.buckets.items()}
    seconds = quantile(buckets, 0.95)
    return Observation(
        int(max(0, after.requests - before.requests)),
        int(max(0, after.errors - before.errors)),
        {label: count for label, count in labels.items() if count},
        None if seconds is None else 1000 * seconds,
        tuple(judged),
    )


def quantile(buckets: dict[float, float], share: float) -> float | None:
    """Interpolated within its bucket, as Prometheus does; None without any count. Units: seconds."""
    total = max(buckets.values(), default=0.0)
    if total <= 0:
        return None
    wanted, lower, counted = share * total, 0.0, 0.0
    for bound, count in sorted(buckets.items()):
        if count >= wanted:
            if math.isinf(bound):
                return lower
            return lower + (bound - lower) * (wanted - counted) / max(count - counted, 1e-12)
        lower, counted = bound, count
    return lower
