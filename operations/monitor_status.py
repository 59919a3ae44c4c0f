"""The status file of the monitor, for the page and for Prometheus; and its short memory between monitoring runs."""

import json
import logging
import os
import time
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from imageloop.atomic_files import replacing
from imageloop.errors import ImageLoopError
from imageloop.workspace_paths import Workspace
from operations.served_versions import served_lately, versions_shown
from seldon.delivery.clusters.settings import KubernetesSettings
from seldon.delivery.deployer.active_deployer import active_cluster
from steps.pipeline_settings import MonitorSettings

if TYPE_CHECKING:
    from operations.monitoring import MonitoringRun

logger = logging.getLogger(__name__)
PUSHGATEWAY_VARIABLE, PUSH_SECONDS = "IMAGELOOP_PUSHGATEWAY", 10
NUM_SHOWN = 20
STATUS_FILE = "monitor_status.json"
MEMORY_FILE, NUM_REMEMBERED = "monitor_memory.json", 20
WINDOW_COLUMNS = ("version", "start", "end", "count", "p_value", "alarm", "estimated_accuracy", "out_of_distribution_share")


def show_status(result: "MonitoringRun", settings: MonitorSettings, workspace: Workspace, *, due_seconds: float) -> str:
    """Write the status file. `due_seconds`: when the next one is due; after that the monitor counts as silent.

    Returns: the id of the newest decision, empty where there is none. A decision like the one before is not stored again.
    """
    from imageloop.lifecycle.feedback_for_training import open_database
    from imageloop.lifecycle.measure_predictions import stored_windows

    with closing(open_database(workspace, settings.monitoring.database)) as database:
        name, now = settings.monitoring.model_name, time.time()
        decisions = database.decisions(name, NUM_SHOWN)
        windows = stored_windows(database, name, NUM_SHOWN)
        served = served_lately(database, name, now)
    status = {
        "time": datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds"),
        "timestamp": now,
        "due": now + due_seconds,
        "model": name,
        "deployment": settings.monitoring.deployment,
        "version": result.version,
        "action": result.action,
        "reason": result.reason,
        "explanation": result.explanation,
        "broken": result.broken,
        "metrics": result.metrics,
        "versions": versions_shown(name),
        "served": served,
        "windows": [{key: getattr(window, key) for key in WINDOW_COLUMNS} for window in windows],
        "decisions": [
            {"time": one.time, "action": one.action, "reason": one.reason, "outcome": one.outcome} for one in decisions
        ],
    }
    publish(workspace, status)
    return decisions[-1].decision_id if decisions else ""


def postpone_due(workspace: Workspace, seconds: float) -> None:
    """Move the time at which the next status is due; the rest of the file stays."""
    file = workspace.state / "serving" / STATUS_FILE
    if file.exists():
        publish(workspace, json.loads(file.read_text()) | {"due": time.time() + seconds})


def push_metrics(status: dict[str, Any]) -> None:
    """Push what the status says to the Pushgateway that `IMAGELOOP_PUSHGATEWAY` names, for replicas that have no status file.

    They replace those of the run before. An address that cannot be reached is logged: a monitoring run is worth more than its metrics.
    """
    address = os.environ.get(PUSHGATEWAY_VARIABLE)
    if not address:
        return
    from prometheus_client import CollectorRegistry, push_to_gateway

    from seldon.service.monitor_metrics import LoopCollector

    registry = CollectorRegistry()
    registry.register(LoopCollector(lambda: status))
    try:
        push_to_gateway(address, "imageloop-monitor", registry, {"deployment": status.get("deployment", "")}, PUSH_SECONDS)
    except (OSError, ValueError) as error:
        logger.warning("the monitor's metrics could not be pushed to %s='%s': %s", PUSHGATEWAY_VARIABLE, address, error)


def publish(workspace: Workspace, status: dict[str, Any]) -> None:
    """Write the status where the service reads it for the page, and push its metrics."""
    file = workspace.state / "serving" / STATUS_FILE
    with replacing(file) as aside:
        aside.write_text(json.dumps(status, indent=1))
    push_metrics(status)
    _show_in_pods(status)


def _show_in_pods(status: dict[str, Any]) -> None:
    """Hand the status to the pods of a cluster; one that refuses it is logged: a monitoring run is worth more than its page."""
    cluster = active_cluster()
    if not isinstance(cluster, KubernetesSettings):
        return
    from seldon.delivery.clusters.kubernetes.kubernetes_cluster import KubernetesCluster  # its client is heavy

    namespace, _, name = status["deployment"].partition("/")
    try:
        KubernetesCluster(cluster).show_monitor(namespace, name, json.dumps(status))
    except ImageLoopError as error:
        logger.warning("the pods cannot show the status of the monitor: %s", error)


def read_memory(workspace: Workspace) -> dict[str, Any]:
    """Read what earlier monitoring runs of this machine stored: what was notified, and what fails since when."""
    try:
        memory: dict[str, Any] = json.loads((workspace.state / MEMORY_FILE).read_text())
    except (OSError, ValueError):
        return {}
    return memory


def remember(workspace: Workspace, key: str, value: Any) -> None:
    """Write one entry; the oldest ones make room."""
    memory = dict([*read_memory(workspace).items(), (key, value)][-NUM_REMEMBERED:])
    with replacing(workspace.state / MEMORY_FILE) as aside:
        aside.write_text(json.dumps(memory))
