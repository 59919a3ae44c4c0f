"""What the processes of a replica take of its machine: the standard metrics of Prometheus' clients, of each worker.

Its own collector knows the process that answers alone, and none where there are several (PROMETHEUS_MULTIPROC_DIR).
"""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from seldon.service.concurrency_limit import num_workers

NAMES = {  # of the collector's, with what they mean
    "process_resident_memory_bytes": "Resident memory of a worker",
    "process_cpu_seconds": "Processor time of a worker, in total",
    "process_open_fds": "Open files and connections of a worker",
    "process_max_fds": "Open files and connections that a worker may have",
    "process_start_time_seconds": "Start of a worker, in seconds since 1970",
}
WORKER = "worker"


class ReplicaProcesses(Collector):
    """The workers of this replica, numbered by age."""

    def collect(self) -> Iterator[Metric]:
        for number, pid in enumerate(_workers()):
            for metric in ProcessCollector(pid=partial(int, pid), registry=CollectorRegistry()).collect():
                if metric.name in NAMES:
                    labelled = Metric(metric.name, NAMES[metric.name], metric.type)
                    for sample in metric.samples:
                        labelled.add_sample(sample.name, {**sample.labels, WORKER: str(number)}, sample.value)
                    yield labelled


def _workers() -> list[int]:
    """The processes that share this one's parent, where Gunicorn started it; else this one alone."""
    own, parent = os.getpid(), os.getppid()
    if num_workers() < 2:
        return [own]
    children = Path(f"/proc/{parent}/task/{parent}/children")
    found = [int(pid) for pid in children.read_text().split()] if children.exists() else []
    return sorted(found) if own in found else [own]
