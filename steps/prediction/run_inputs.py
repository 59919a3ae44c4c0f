"""What the inputs of a batch prediction are in this run: the day in their names, and retained images of this machine's deployments."""

from pathlib import Path

from zenml import get_step_context

from imageloop.batch_prediction.settings import BatchPredictionSettings
from imageloop.lifecycle.retained_inputs import offer_retained_images
from imageloop.records.retained_images import identity_of
from imageloop.workspace_paths import Workspace
from seldon.delivery.deployer.active_deployer import active_deployer


def of_this_run(settings: BatchPredictionSettings) -> BatchPredictionSettings:
    """The settings with the day on which this run began, also in a step that begins after midnight."""
    run = get_step_context().pipeline_run
    return settings.of_day(run.start_time or run.created)


def offer_retained_inputs() -> None:
    """Let `records://` addresses be read in this process, with the records of the active stack's cluster."""
    workspace = Workspace.current()
    offer_retained_images(_records_of, workspace, identity_of(workspace.keys))


def _records_of(namespace: str, name: str) -> Path | None:
    return active_deployer().cluster.records(namespace, name)
