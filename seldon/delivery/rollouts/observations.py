"""What a predictor did within a window: differences of its replicas' Prometheus counters."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from prometheus_client.parser import text_string_to_metric_families

from seldon.service.serving_protocols import SELDON_PREDICTIONS, V2_INFER

FULL = "503"  # the service's response where its queue is full
REFUSED = ("400", "413", "415", "422")  # a bad image deserves it; a version that refuses more than the other is at fault
PREDICTION_ROUTES = ("/predict", "/explain", V2_INFER, *SELDON_PREDICTIONS)


@dataclass(frozen=True)
class Counters:
    """The counters of one replica, or their sum over several. `buckets`: cumulative number of responses within so many seconds."""

    requests: float = 0.0
    errors: float = 0.0
    turned_away: float = 0.0
    labels: dict[str, float] = field(default_factory=dict)
    buckets: dict[float, float] = field(default_factory=dict)
    refused: float = 0.0

    def __add__(self, other: Counters) -> Counters:
        return self._with(other, 1)

    def since(self, before: Counters) -> Counters:
        """Subtract the counts of `before`; a replica that restarted meanwhile, so that any counter fell, counts from zero."""
        change = self._with(before, -1)
        counts = [
            change.requests,
            change.errors,
            change.turned_away,
            change.refused,
            *change.labels.values(),
            *change.buckets.values(),
        ]
        return self if min(counts) < 0 else change

    def _with(self, other: Counters, sign: int) -> Counters:
        return Counters(
            self.requests + sign * other.requests,
            self.errors + sign * other.errors,
            self.turned_away + sign * other.turned_away,
            {name: self.labels.get(name, 0) + sign * other.labels.get(name, 0) for name in self.labels | other.labels},
            {bound: self.buckets.get(bound, 0) + sign * other.buckets.get(bound, 0) for bound in self.buckets | other.buckets},
            self.refused + sign * other.refused,
        )


@dataclass(frozen=True)
class Observation:
    """Counts and latencies of one predictor in one window.

    `buckets`: cumulative number of responses within so many seconds.
    `turned_away`: those of the `errors` that were rejected by a full queue; `refused`: requests whose image was refused; `judged`: whether
    each prediction with feedback was correct.
    """

    requests: int
    errors: int
    labels: dict[str, int]
    p95_ms: float | None
    judged: tuple[bool, ...] = ()
    turned_away: int = 0
    refused: int = 0
    buckets: dict[float, float] = field(default_factory=dict)

    @property
    def error_rate(self) -> float:
        return self.errors / self.requests if self.requests else 0.0

    def without_turned_away(self) -> Observation:
        """Return the observation without the requests that a full queue rejected."""
        return replace(self, requests=self.requests - self.turned_away, errors=self.errors - self.turned_away)

    def metrics(self) -> dict[str, float | int | None]:
        """Return the numbers for logs, ZenML and MLflow."""
        right = sum(self.judged) / len(self.judged) if self.judged else None
        return {
            "requests": self.requests,
            "error_rate": self.error_rate,
            "turned_away": self.turned_away,
            "refused": self.refused,
            "p95_ms": self.p95_ms,
            "judged": len(self.judged),
            "accuracy": right,
        }


def read_counters(exposition: str) -> Counters:
    """Read a replica's exposition. A 5xx is an error of the service; a 4xx is the caller's."""
    requests = errors = turned_away = refused = 0.0
    labels: dict[str, float] = {}
    buckets: dict[float, float] = {}
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            if sample.name == "imageloop_requests_total" and sample.labels["route"] in PREDICTION_ROUTES:
                requests += sample.value
                errors += sample.value if sample.labels["code"].startswith("5") else 0
                turned_away += sample.value if sample.labels["code"] == FULL else 0
                refused += sample.value if sample.labels["code"] in REFUSED else 0
            elif sample.name == "imageloop_predictions_total":
                labels[sample.labels["label"]] = labels.get(sample.labels["label"], 0) + sample.value
            elif sample.name == "imageloop_request_seconds_bucket":
                bound = float(sample.labels["le"])
                buckets[bound] = buckets.get(bound, 0) + sample.value
    return Counters(requests, errors, turned_away, labels, buckets, refused)


class Tally:
    """The sum of what the replicas of one predictor counted since the tally was made.

    A replica that starts later, or cannot be read for a while, counts from its first exposition; earlier counts stay.
    """

    def __init__(self, expositions: dict[str, str]) -> None:
        self._last = {replica: read_counters(text) for replica, text in expositions.items()}
        self._sum = Counters()
        self.past = _observation(sum(self._last.values(), Counters()))

    def add(self, expositions: dict[str, str]) -> None:
        """Add the expositions of now, by replica name."""
        for replica, text in expositions.items():
            now = read_counters(text)
            self._sum += now.since(self._last.get(replica, now))
            self._last[replica] = now

    def observation(self, judged: Iterable[bool] = ()) -> Observation:
        return _observation(self._sum, judged)


def _observation(counters: Counters, judged: Iterable[bool] = ()) -> Observation:
    seconds = quantile(counters.buckets, 0.95)
    return Observation(
        int(counters.requests),
        int(counters.errors),
        {label: int(count) for label, count in counters.labels.items() if count},
        None if seconds is None else 1000 * seconds,
        tuple(judged),
        int(counters.turned_away),
        int(counters.refused),
        counters.buckets,
    )


def share_within(buckets: dict[float, float], seconds: float) -> float:
    """Return the share of requests that took at most `seconds`, interpolated within a bucket; 1 without any."""
    total, lower, counted = max(buckets.values(), default=0.0), 0.0, 0.0
    for bound, count in sorted(buckets.items()):
        if seconds <= bound:
            part = 1.0 if math.isinf(bound) else (seconds - lower) / (bound - lower)
            return (counted + (count - counted) * part) / total if total else 1.0
        lower, counted = bound, count
    return 1.0


def quantile(buckets: dict[float, float], share: float) -> float | None:
    """Return a quantile in seconds, interpolated within its bucket as Prometheus does; None without any count."""
    total = max(buckets.values(), default=0.0)
    if total <= 0:
        return None
    target, lower, counted = share * total, 0.0, 0.0
    for bound, count in sorted(buckets.items()):
        if count >= target:
            if math.isinf(bound):
                return lower
            return lower + (bound - lower) * (target - counted) / max(count - counted, 1e-12)
        lower, counted = bound, count
    return lower
