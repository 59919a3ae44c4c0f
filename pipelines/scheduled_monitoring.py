"""What a schedule runs: one monitoring run, and what follows from it."""

from zenml import pipeline

from pipelines.container_image import PIPELINE_IMAGE
from steps.monitoring.run_monitoring import run_monitoring
from steps.pipeline_settings import MonitorSettings


@pipeline(settings={"docker": PIPELINE_IMAGE})
def scheduled_monitoring(settings: MonitorSettings) -> None:
    run_monitoring(settings)
