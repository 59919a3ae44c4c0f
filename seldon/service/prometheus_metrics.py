"""What Prometheus is told. Right with several workers where PROMETHEUS_MULTIPROC_DIR is set, as the launcher does."""

import os
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from seldon.service.monitor_metrics import LoopCollector

PRICE_VARIABLE = "IMAGELOOP_PRICE_PER_CPU_HOUR"
MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
# Each bucket is 1.1 times the one before: a quantile read from them is off by less than 5 %.
SECONDS_BUCKETS = tuple(0.001 * 1.1**power for power in range(98))
DIED = 502  # whose worker died before it answered; the gateway's own words to the caller may be others
CONFIDENCE_BUCKETS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999, 1.0)

requests = Counter(
    "imageloop_requests_total", "Requests that were answered, or whose worker died (502)", ["predictor", "route", "code"]
)
seconds = Histogram("imageloop_request_seconds", "From a request's head to its answer", ["predictor"], buckets=SECONDS_BUCKETS)
predictions = Counter("imageloop_predictions_total", "Pictures that were answered", ["predictor", "version", "label"])
confidence = Histogram("imageloop_confidence", "Probability of the answer", ["predictor"], buckets=CONFIDENCE_BUCKETS)
unfamiliar = Counter("imageloop_unfamiliar_total", "Pictures unlike any that the model was made of", ["predictor"])
feedback = Counter("imageloop_feedback_total", "True labels that were received", ["predictor", "label"])
refused = Counter("imageloop_refused_total", "Requests that were refused", ["predictor", "reason"])
records_lost = Counter("imageloop_records_lost_total", "Records that could not be kept", ["predictor"])
pictures_lost = Counter("imageloop_pictures_lost_total", "Pictures for labelling that could not be kept", ["predictor"])
cpu_seconds = Counter("imageloop_cpu_seconds_total", "Processor time that answering took", ["predictor"])
price = Gauge("imageloop_price_per_cpu_hour", "What IMAGELOOP_PRICE_PER_CPU_HOUR says", ["predictor"], multiprocess_mode="max")
in_flight = Gauge("imageloop_in_flight", "Requests at work or waiting", ["predictor", "route"], multiprocess_mode="livesum")
model_info = Gauge(
    "imageloop_model_info", "Which model answers", ["predictor", "model", "version", "data_version", "precision"], multiprocess_mode="max"
)  # fmt: skip


def exposition() -> tuple[bytes, str]:
    """All workers' figures together, and their content type."""
    registry = REGISTRY
    if MULTIPROCESS_VARIABLE in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    loop = CollectorRegistry()
    loop.register(LoopCollector())
    return generate_latest(registry) + generate_latest(loop), CONTENT_TYPE_LATEST


def ensure_folder() -> None:
    """Where workers keep their figures, if there are several."""
    if MULTIPROCESS_VARIABLE in os.environ:
        Path(os.environ[MULTIPROCESS_VARIABLE]).mkdir(parents=True, exist_ok=True)


def start_afresh(folder: Path) -> None:
    """Before the first worker: what dead workers left counts no more."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.db"):
        file.unlink()


def worker_is_gone(pid: int) -> None:
    """Its gauges count no more; its counters do. What it was still at is counted here, as failed: it cannot do so itself any more."""
    left = Path(os.environ[MULTIPROCESS_VARIABLE]).glob(f"gauge_livesum_{pid}.db")
    for metric in MultiProcessCollector.merge([str(file) for file in left], accumulate=False):  # type: ignore[no-untyped-call]
        for sample in metric.samples:
            if sample.name == "imageloop_in_flight" and sample.value > 0:
                requests.labels(sample.labels["predictor"], sample.labels["route"], DIED).inc(sample.value)
    mark_process_dead(pid)  # type: ignore[no-untyped-call]
