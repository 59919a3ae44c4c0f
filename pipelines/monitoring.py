"""From what was served to a decision."""

from zenml import pipeline
from zenml.enums import ExecutionMode

from imageloop.monitoring.settings import MonitoringSettings
from pipelines.container_image import PIPELINE_IMAGE
from steps.monitoring.collect import collect
from steps.monitoring.decide import decide
from steps.monitoring.measure import measure


@pipeline(execution_mode=ExecutionMode.FAIL_FAST, settings={"docker": PIPELINE_IMAGE})
def monitoring(settings: MonitoringSettings, labels_needed: int) -> None:
    collected = collect(settings)
    measurement = measure(collected, settings, labels_needed)
    decide(measurement, settings, labels_needed)
