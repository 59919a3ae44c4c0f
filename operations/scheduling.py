"""Schedule the monitor, or a batch prediction, on the orchestrator of the active stack."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imageloop.adapters.ray_engine import check_address
from imageloop.adapters.step_resources import step_options
from imageloop.adapters.zenml_client import check_parts, open_stack, runs_elsewhere
from imageloop.batch_prediction.settings import BatchPredictionSettings
from imageloop.errors import SettingsError
from operations.batch_prediction import STEP_NAMES, refuse_local_paths
from seldon.delivery.deployer.active_deployer import active_cluster
from steps.pipeline_settings import MonitorSettings

if TYPE_CHECKING:
    from zenml.client import Client
    from zenml.config.schedule import Schedule as ZenMLSchedule


@dataclass(frozen=True)
class Schedule:
    """A schedule of the active stack. `replaced`: there was one of that name before."""

    stack: str
    schedule: str
    cron: str
    replaced: bool


@dataclass(frozen=True)
class RemovedSchedule:
    """A schedule that was to be removed. `removed` is false where there was none."""

    stack: str
    schedule: str
    removed: bool


def schedule(settings: MonitorSettings, cron: str) -> Schedule:
    """Schedule monitoring runs by a cron expression; an earlier schedule of the same deployment is replaced.

    Raises: SettingsError where the stack supports no schedules.
    """
    client = _client("watch")
    settings = settings.on(active_cluster())
    from pipelines.scheduled_monitoring import scheduled_monitoring

    return _schedule(
        client, _monitor_name(settings), cron, lambda when: scheduled_monitoring.with_options(schedule=when)(settings)
    )


def unschedule(settings: MonitorSettings) -> RemovedSchedule:
    """Remove the schedule of this deployment."""
    client = _client("watch")
    return _removed(client, _monitor_name(settings.on(active_cluster())))


def schedule_prediction(settings: BatchPredictionSettings, cron: str) -> Schedule:
    """Schedule a batch prediction by a cron expression; an earlier schedule with the same inputs and output is replaced.

    Each run predicts with the version that is the champion then, unless the settings name one.
    Raises: SettingsError where the stack supports no schedules, or its pods cannot read an input.
    """
    client = _client("predict --pipeline")
    if runs_elsewhere(client):
        refuse_local_paths(settings)
    else:
        check_address()
    from pipelines.batch_prediction import batch_prediction

    return _schedule(
        client,
        _prediction_name(settings),
        cron,
        lambda when: batch_prediction.with_options(schedule=when, steps=step_options(STEP_NAMES))(settings),
    )


def unschedule_prediction(settings: BatchPredictionSettings) -> RemovedSchedule:
    """Remove the schedule of the batch prediction with these inputs and this output."""
    return _removed(_client("predict --pipeline"), _prediction_name(settings))


def _client(instead: str) -> "Client":
    """`instead`: the command that does the same once."""
    client = open_stack()
    if not client.active_stack.orchestrator.config.is_schedulable:
        raise SettingsError(
            f"expected an orchestrator that supports schedules, got the stack '{client.active_stack_model.name}', whose orchestrator does not; "
            f"run: python run.py {instead}"
        )
    check_parts(client)
    return client


def _schedule(client: "Client", name: str, cron: str, submit: "Callable[[ZenMLSchedule], object]") -> Schedule:
    from zenml.config.schedule import Schedule as ZenMLSchedule

    replaced = _remove(client, name)
    submit(ZenMLSchedule(name=name, cron_expression=cron))
    return Schedule(client.active_stack_model.name, name, cron, replaced)


def _removed(client: "Client", name: str) -> RemovedSchedule:
    return RemovedSchedule(client.active_stack_model.name, name, _remove(client, name))


def _remove(client: "Client", name: str) -> bool:
    found = [one for one in client.list_schedules(name=name).items if one.name == name]
    for one in found:
        client.delete_schedule(one.id, soft=False)  # a name is free again only once its schedule is deleted
    return bool(found)


def _monitor_name(settings: MonitorSettings) -> str:
    """Name the schedule after its deployment: staging and production each have a monitor of their own."""
    return f"watch-{settings.monitoring.model_name}-{settings.monitoring.deployment.replace('/', '-')}"


def _prediction_name(settings: BatchPredictionSettings) -> str:
    """Name the schedule after its model, inputs and output: one model may have several."""
    digest = hashlib.sha256(json.dumps([settings.inputs, settings.output]).encode()).hexdigest()
    return f"predict-{settings.model_name}-{digest[:8]}"
