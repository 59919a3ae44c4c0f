"""What a schedule runs: one look after what serves, and what follows from it."""

from zenml import pipeline

from pipelines.image import PIPELINE_IMAGE
from steps.monitoring.look_after import look_after
from steps.pipeline_settings import WatchSettings


@pipeline(settings={"docker": PIPELINE_IMAGE})
def unattended(settings: WatchSettings) -> None:
    look_after(settings)
