"""Let the active stack run the monitor on a schedule, where its orchestrator can."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from imageloop.adapters.zenml_client import check_parts, open_stack
from imageloop.errors import SettingsError
from seldon.delivery.deployer.active_deployer import active_cluster
from steps.pipeline_settings import MonitorSettings

if TYPE_CHECKING:
    from zenml.client import Client


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
    client = _client()
    settings = settings.on(active_cluster())
    from zenml.config import schedule as zenml_schedule

    from pipelines.scheduled_monitoring import scheduled_monitoring

    replaced = _remove(client, settings)
    name = _name(settings)
    when = zenml_schedule.Schedule(name=name, cron_expression=cron)
    scheduled_monitoring.with_options(schedule=when)(settings)
    return Schedule(client.active_stack_model.name, name, cron, replaced)


def unschedule(settings: MonitorSettings) -> RemovedSchedule:
    """Remove the schedule of this deployment."""
    client = _client()
    settings = settings.on(active_cluster())
    return RemovedSchedule(client.active_stack_model.name, _name(settings), _remove(client, settings))


def _client() -> "Client":
    client = open_stack()
    if not client.active_stack.orchestrator.config.is_schedulable:
        raise SettingsError(
            f"expected an orchestrator that supports schedules, got the stack '{client.active_stack_model.name}', whose orchestrator does not; "
            "run: python run.py watch"
        )
    check_parts(client)
    return client


def _remove(client: "Client", settings: MonitorSettings) -> bool:
    found = [one for one in client.list_schedules(name=_name(settings)).items if one.name == _name(settings)]
    for one in found:
        client.delete_schedule(one.id, soft=False)  # a name is free again only once its schedule is deleted
    return bool(found)


def _name(settings: MonitorSettings) -> str:
    """Name the schedule after its deployment: staging and production each have a monitor of their own."""
    return f"watch-{settings.monitoring.model_name}-{settings.monitoring.deployment.replace('/', '-')}"
