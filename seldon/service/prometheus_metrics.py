"""Prometheus metrics of the service, over all workers where PROMETHEUS_MULTIPROC_DIR is set, as the launcher does."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from seldon.service.monitor_metrics import LoopCollector
from seldon.service.process_metrics import ReplicaProcesses

MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
# Each bucket is 1.1 times the one before: a quantile read from them is off by less than 5 %.
SECONDS_BUCKETS = tuple(0.001 * 1.1**power for power in range(98))
DIED = 502  # its worker died before it responded; the caller may get another code from the gateway
CONFIDENCE_BUCKETS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999, 1.0)

requests = Counter(
    "imageloop_requests_total", "Requests by response code; 502 where their worker died", ["predictor", "route", "code"]
)
seconds = Histogram(
    "imageloop_request_seconds", "Seconds from a request's head to its response", ["predictor"], buckets=SECONDS_BUCKETS
)
predictions = Counter("imageloop_predictions_total", "Predictions by label", ["predictor", "version", "label"])
confidence = Histogram("imageloop_confidence", "Probability of the predicted class", ["predictor"], buckets=CONFIDENCE_BUCKETS)
out_of_distribution = Counter("imageloop_out_of_distribution_total", "Images that are out of distribution", ["predictor"])
feedback = Counter("imageloop_feedback_total", "Feedback received, by ground truth", ["predictor", "label"])
routed_feedback = Counter(
    "imageloop_routed_feedback_total",
    "Feedback that a router learnt from, by the version that predicted",
    ["predictor", "version"],
)
refused = Counter("imageloop_refused_total", "Rejected requests, by reason", ["predictor", "reason"])
records_lost = Counter("imageloop_records_lost_total", "Records that could not be stored", ["predictor"])
images_lost = Counter("imageloop_images_lost_total", "Images for labelling that could not be stored", ["predictor"])
cpu_seconds = Counter("imageloop_cpu_seconds_total", "CPU time of requests", ["predictor"])
price = Gauge("imageloop_price_per_cpu_hour", "Value of IMAGELOOP_PRICE_PER_CPU_HOUR", ["predictor"], multiprocess_mode="max")
memory_price = Gauge(
    "imageloop_price_per_gib_hour", "Value of IMAGELOOP_PRICE_PER_GIB_HOUR", ["predictor"], multiprocess_mode="max"
)
cores = Gauge(
    "imageloop_cores", "Compute threads, for each of which a core is reserved", ["predictor"], multiprocess_mode="livesum"
)
in_flight = Gauge("imageloop_in_flight", "Running and queued requests", ["predictor", "route"], multiprocess_mode="livesum")
model_info = Gauge(
    "imageloop_model_info", "Model, version and precision of the predictor",
    ["predictor", "model", "version", "data_version", "precision"], multiprocess_mode="max",
)  # fmt: skip
model_loaded = Gauge(
    "imageloop_model_loaded", "Whether a model of several is in memory", ["predictor"], multiprocess_mode="livesum"
)
model_loads = Counter("imageloop_model_loads_total", "How often a model of several was loaded", ["predictor"])
model_load_seconds = Counter("imageloop_model_load_seconds_total", "Seconds that its loading took, in total", ["predictor"])
model_unloads = Counter("imageloop_model_unloads_total", "How often a model of several was unloaded", ["predictor"])


def count_request(predictor: str, route: str, code: int, begun: float) -> None:
    """Count a request that is answered now; `begun` by `time.perf_counter`."""
    requests.labels(predictor, route, code).inc()
    seconds.labels(predictor).observe(time.perf_counter() - begun)


def exposition() -> tuple[bytes, str]:
    """Return the metrics of all workers, and their content type."""
    registry = _workers() if MULTIPROCESS_VARIABLE in os.environ else REGISTRY
    loop = CollectorRegistry()
    loop.register(LoopCollector())
    if MULTIPROCESS_VARIABLE in os.environ:  # else Prometheus' own collector is in the registry
        loop.register(ReplicaProcesses())
    return generate_latest(registry) + generate_latest(loop), CONTENT_TYPE_LATEST


class _OfPredictor(Collector):
    """The metrics of one predictor among several in a process, under its own name."""

    def __init__(self, registry: Collector, label: str, predictor: str) -> None:
        self._registry, self._label, self._predictor = registry, label, predictor

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            own = [one for one in metric.samples if one.labels.get("predictor") == self._label]
            if own:
                found = Metric(metric.name, metric.documentation, metric.type)
                found.samples = [one._replace(labels={**one.labels, "predictor": self._predictor}) for one in own]
                yield found


def exposition_of(label: str, predictor: str) -> tuple[bytes, str]:
    """The metrics of one of several predictors of this process, as `predictor`, and their content type. `label`: its name in the process."""
    registry = CollectorRegistry()
    registry.register(_OfPredictor(_workers(), label, predictor))
    registry.register(LoopCollector())
    return generate_latest(registry), CONTENT_TYPE_LATEST


def exposition_of_process() -> tuple[bytes, str]:
    """What the process takes of its machine, without the metrics of its predictors."""
    registry = CollectorRegistry()
    registry.register(ReplicaProcesses())
    return generate_latest(registry), CONTENT_TYPE_LATEST


def _workers() -> CollectorRegistry:
    """The metrics of all workers of this process."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry


def ensure_folder() -> None:
    """Create the folder of the workers' metrics, if there are several."""
    if MULTIPROCESS_VARIABLE in os.environ:
        Path(os.environ[MULTIPROCESS_VARIABLE]).mkdir(parents=True, exist_ok=True)


def start_afresh(folder: Path) -> None:
    """Remove the metrics of earlier workers, before the first one starts."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.db"):
        file.unlink()


def worker_is_gone(pid: int) -> None:
    """Drop the gauges of a dead worker, keep its counters, and count the requests that it was working on as failed."""
    left = Path(os.environ[MULTIPROCESS_VARIABLE]).glob(f"gauge_livesum_{pid}.db")
    for metric in MultiProcessCollector.merge([str(file) for file in left], accumulate=False):  # type: ignore[no-untyped-call]
        for sample in metric.samples:
            if sample.name == "imageloop_in_flight" and sample.value > 0:
                requests.labels(sample.labels["predictor"], sample.labels["route"], DIED).inc(sample.value)
    mark_process_dead(pid)  # type: ignore[no-untyped-call]
