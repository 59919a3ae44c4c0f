"""From a registered version to one that serves."""

from zenml import pipeline
from zenml.enums import ExecutionMode

from pipelines.container_image import PIPELINE_IMAGE
from seldon.delivery.rollouts.settings import DeploySettings
from steps.deployment.evaluate_served import evaluate_served
from steps.deployment.roll_out import roll_out
from steps.deployment.select_version import select


@pipeline(execution_mode=ExecutionMode.FAIL_FAST, settings={"docker": PIPELINE_IMAGE})
def deployment(settings: DeploySettings) -> None:
    candidate = select(settings)
    rollout = roll_out(candidate, settings)
    evaluate_served(rollout, settings)
