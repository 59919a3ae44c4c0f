"""Let the active stack look after what serves by the clock, where its orchestrator can."""

from typing import TYPE_CHECKING, Any

from imageloop.adapters.zenml_client import check_parts, open_stack
from imageloop.errors import SettingsError
from steps.pipeline_settings import WatchSettings

if TYPE_CHECKING:
    from zenml.client import Client


def schedule(settings: WatchSettings, cron: str) -> dict[str, Any]:
    """One look at each time that `cron` names, in place of the schedule that there was.

    Raises: SettingsError where the stack keeps no schedules.
    """
    client = _client()
    from zenml.config.schedule import Schedule

    from pipelines.scheduled_monitoring import unattended

    removed = _remove(client, settings)
    name = _name(settings)
    unattended.with_options(schedule=Schedule(name=name, cron_expression=cron))(settings)
    return {"stack": client.active_stack_model.name, "schedule": name, "cron": cron, "replaced": removed}


def unschedule(settings: WatchSettings) -> dict[str, Any]:
    """Take it away again."""
    client = _client()
    return {"stack": client.active_stack_model.name, "schedule": _name(settings), "removed": _remove(client, settings)}


def describe(result: dict[str, Any]) -> str:
    if "cron" in result:
        return f"the stack '{result['stack']}' looks after what serves at '{result['cron']}' (schedule '{result['schedule']}')"
    return f"schedule '{result['schedule']}' is {'removed' if result['removed'] else 'not there'}"


def _client() -> "Client":
    client = open_stack()
    if not client.active_stack.orchestrator.config.is_schedulable:
        raise SettingsError(
            f"wanted an orchestrator that keeps schedules, found the stack '{client.active_stack_model.name}', whose keeps none; "
            "run: python run.py watch"
        )
    check_parts(client)
    return client


def _remove(client: "Client", settings: WatchSettings) -> bool:
    found = [one for one in client.list_schedules(name=_name(settings)).items if one.name == _name(settings)]
    for one in found:
        client.delete_schedule(one.id, soft=False)  # a name can be given again only once it is gone
    return bool(found)


def _name(settings: WatchSettings) -> str:
    """Of what serves too: staging and production are watched each by its own."""
    return f"watch-{settings.monitoring.model_name}-{settings.monitoring.deployment.replace('/', '-')}"
