"""The monitor's results as Prometheus metrics: it writes a status file, which every replica that has the file exports."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

LOOP_VARIABLE = "IMAGELOOP_MONITOR_STATUS"
METRICS = {
    "drift_p_value": "p-value of the newest window under no drift",
    "estimated_accuracy": "Accuracy of the newest window, estimated without labels",
    "reference_accuracy": "The same estimate for the reference window",
    "out_of_distribution_share": "Share of the newest window that is out of distribution",
    "accuracy": "Accuracy of the newest labelled predictions",
    "accuracy_low": "Lower end of its 95 % interval",
    "accuracy_high": "Upper end of its 95 % interval",
    "accuracy_threshold": "Bound for the upper end of the interval; only while the labels are enough and a fair sample",
    "labels": "Labelled predictions in the database",
}


def read_loop() -> dict[str, Any]:
    """Return the status file's content; empty without a monitor, or while the file cannot be read."""
    try:
        status: dict[str, Any] = json.loads(Path(os.environ.get(LOOP_VARIABLE, "")).read_bytes())
    except (OSError, ValueError):
        return {}
    return status


class LoopCollector(Collector):
    """Exports a gauge for each metric. All replicas export the same: take the maximum over them."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        loop = read_loop()
        if not loop:
            return
        label_names, values = ["model", "version"], [str(loop.get("model")), str(loop.get("version"))]
        for name, description in METRICS.items():
            value = loop.get("metrics", {}).get(name)
            if value is not None:
                family = GaugeMetricFamily(f"imageloop_{name}", description, labels=label_names)
                family.add_metric(values, float(value))
                yield family
        action = GaugeMetricFamily("imageloop_decision", "The newest decision", labels=[*label_names, "action"])
        action.add_metric([*values, str(loop.get("action"))], 1.0)
        yield action
        last_run = GaugeMetricFamily(
            "imageloop_monitoring_run_timestamp_seconds", "Time of the last monitoring run", labels=label_names
        )
        last_run.add_metric(values, float(loop.get("timestamp", 0.0)))
        yield last_run
        if "due" in loop:
            due = GaugeMetricFamily(
                "imageloop_monitoring_run_due_timestamp_seconds",
                "Time by which the next monitoring run is due",
                labels=label_names,
            )
            due.add_metric(values, float(loop["due"]))
            yield due
