"""What the watch found, for Prometheus: it writes a file, and every service that has the file tells it."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

LOOP_VARIABLE = "IMAGELOOP_LOOP"
FIGURES = {
    "drift_p_value": "How likely the newest window is where nothing has changed",
    "estimated_accuracy": "Accuracy of the newest window, estimated without labels",
    "reference_accuracy": "The same estimate before the world changed",
    "unfamiliar_share": "Share of the newest window that is unlike anything known",
    "accuracy": "Share of right answers among the newest labelled ones",
    "accuracy_low": "Lower end of its 95 % interval",
    "accuracy_high": "Upper end of its 95 % interval",
    "accuracy_wanted": "What the upper end shall not fall below; only while the labels are enough and a fair sample",
    "labels": "Labelled answers that the database holds",
}


def read_loop() -> dict[str, Any]:
    """The file's content; nothing where nobody watches, or while it cannot be read."""
    try:
        found: dict[str, Any] = json.loads(Path(os.environ.get(LOOP_VARIABLE, "")).read_bytes())
    except (OSError, ValueError):
        return {}
    return found


class LoopCollector(Collector):
    """A gauge for each figure. All replicas tell the same: take the maximum over them."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        loop = read_loop()
        if not loop:
            return
        names, values = ["model", "version"], [str(loop.get("model")), str(loop.get("version"))]
        for figure, meaning in FIGURES.items():
            value = loop.get("figures", {}).get(figure)
            if value is not None:
                family = GaugeMetricFamily(f"imageloop_{figure}", meaning, labels=names)
                family.add_metric(values, float(value))
                yield family
        action = GaugeMetricFamily("imageloop_decision", "The newest decision", labels=[*names, "action"])
        action.add_metric([*values, str(loop.get("action"))], 1.0)
        yield action
        looked = GaugeMetricFamily("imageloop_looked_timestamp_seconds", "When the watch looked last", labels=names)
        looked.add_metric(values, float(loop.get("timestamp", 0.0)))
        yield looked
        if "due" in loop:
            due = GaugeMetricFamily(
                "imageloop_look_due_timestamp_seconds", "When the watch looks again at the latest", labels=names
            )
            due.add_metric(values, float(loop["due"]))
            yield due
