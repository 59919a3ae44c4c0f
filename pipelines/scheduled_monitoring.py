"""What a schedule runs: one look after what serves, and what follows from it."""

from zenml import pipeline

from pipelines.container_image import PIPELINE_IMAGE
from steps.monitoring.run_monitoring import run_monitoring
from steps.pipeline_settings import WatchSettings


@pipeline(settings={"docker": PIPELINE_IMAGE})
def unattended(settings: WatchSettings) -> None:
    run_monitoring(settings)
