"""Decide what follows from a measurement."""

from typing import Annotated

from zenml import log_metadata, step

from imageloop.lifecycle.measure_predictions import decide_and_keep
from imageloop.monitoring.decisions import Verdict
from imageloop.monitoring.measurement import Measurement
from imageloop.monitoring.settings import MonitoringSettings
from imageloop.workspace_paths import Workspace
from materializers.measurement import DecisionMaterializer


@step(enable_cache=False, output_materializers={"decision": DecisionMaterializer})
def decide(measurement: Measurement, settings: MonitoringSettings, labels_needed: int) -> Annotated[Verdict, "decision"]:
    """Decide by the settings, and store the decision with its metrics."""
    verdict = decide_and_keep(measurement, settings, labels_needed, Workspace.current())
    log_metadata({"action": verdict.action, "reason": verdict.reason})
    return verdict
