"""The monitor's results as Prometheus metrics: it writes a status file, which every replica that has the file exports."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

LOOP_VARIABLE = "IMAGELOOP_MONITOR_STATUS"
METRICS = {
    "drift_p_value": "p-value of the newest window under no drift",
    "estimated_accuracy": "Accuracy of the newest window, estimated without labels",
    "estimated_low": "Lower end of its 90 % interval",
    "estimated_high": "Upper end of its 90 % interval",
    "reference_accuracy": "Accuracy on images as usual, with which the estimate is compared",
    "out_of_distribution_share": "Share of the newest window that is out of distribution",
    "accuracy": "Accuracy of the newest labelled predictions",
    "accuracy_low": "Lower end of its 95 % interval",
    "accuracy_high": "Upper end of its 95 % interval",
    "accuracy_threshold": "Bound for the upper end of the interval; only while the labels are enough and a fair sample",
    "labels": "Labelled predictions in the database",
}
DECISION = ("decision", "The newest decision")
LAST_RUN = ("monitoring_run_timestamp_seconds", "Time of the last monitoring run")
NEXT_RUN = ("monitoring_run_due_timestamp_seconds", "Time by which the next monitoring run is due")
LABELS = ("model", "version")


def read_loop() -> dict[str, Any]:
    """Return the status file's content; empty without a monitor, or while the file cannot be read."""
    try:
        status: dict[str, Any] = json.loads(Path(os.environ.get(LOOP_VARIABLE, "")).read_bytes())
    except (OSError, ValueError):
        return {}
    return status


class LoopCollector(Collector):
    """Exports a gauge for each metric. All replicas export the same: take the maximum over them.

    `read` returns the content of the status file.
    """

    def __init__(self, read: Callable[[], dict[str, Any]] = read_loop) -> None:
        self._read = read

    def collect(self) -> Iterator[GaugeMetricFamily]:
        loop = self._read()
        if not loop:
            return
        labels = {name: str(loop.get(name)) for name in LABELS}
        for name, description in METRICS.items():
            value = loop.get("metrics", {}).get(name)
            if value is not None:
                yield _gauge(name, description, labels, value)
        yield _gauge(*DECISION, labels | {"action": str(loop.get("action"))}, 1.0)
        yield _gauge(*LAST_RUN, labels, loop.get("timestamp", 0.0))
        if "due" in loop:
            yield _gauge(*NEXT_RUN, labels, loop["due"])


def _gauge(name: str, description: str, labels: dict[str, str], value: Any) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"imageloop_{name}", description, labels=list(labels))
    family.add_metric(list(labels.values()), float(value))
    return family
