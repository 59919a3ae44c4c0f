"""Run the monitor unattended, as a step of a scheduled pipeline."""

from typing import Annotated, Any

from zenml import log_metadata, step

from imageloop.adapters.run_command import run_command
from steps.pipeline_settings import MonitorSettings


@step(enable_cache=False)
def run_monitoring(settings: MonitorSettings) -> Annotated[dict[str, Any], "monitoring_run"]:
    """Run `monitor` once: it measures, decides and carries out, each by a pipeline of its own on the active stack."""
    result = run_command("monitor", settings)
    log_metadata({"action": result["action"], "reason": result["reason"], "outcome": str(result["outcome"])})
    return result
