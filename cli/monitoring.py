"""Commands that monitor: monitor, watch, schedule, demo-loop."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import monitoring_text
from cli.command import fail, load, run
from cli.options import Json, Model, MonitorConfig, Overrides, check_cron, monitor_presets
from imageloop.errors import SettingsError
from imageloop.workspace_paths import PROJECT

if TYPE_CHECKING:
    from operations.demo_loop.scenario import DemoLoopResult
    from operations.monitoring import MonitoringRun, WatchResult
    from operations.scheduling import RemovedSchedule, Schedule

PANEL = "Monitor"
DEMO_LOOP = PROJECT / "configs" / "demo-loop.yaml"


def register(app: typer.Typer) -> None:
    """Add the commands of this group to the command line."""
    for command in (monitor, watch, schedule, demo_loop):
        app.command(rich_help_panel=PANEL)(command)


def monitor(config: MonitorConfig = None, overrides: Overrides = None, model: Model = None, json_output: Json = False) -> None:
    """Run the monitor once: collect, measure, decide, and where it is decided retrain and roll out."""
    from steps.pipeline_settings import MonitorSettings

    settings = load(MonitorSettings, config, overrides, **monitor_presets(model))

    def work() -> "MonitoringRun":
        from operations import monitoring

        return monitoring.monitor(settings)

    run("monitor", work, monitoring_text.monitoring_run, json_output)


def watch(config: MonitorConfig = None, overrides: Overrides = None, model: Model = None, json_output: Json = False) -> None:
    """Run the monitor as a daemon until Ctrl-C or SIGTERM; after a kill it resumes what it had begun."""
    from steps.pipeline_settings import MonitorSettings

    settings = load(MonitorSettings, config, overrides, **monitor_presets(model))

    def work() -> "WatchResult":
        from operations import monitoring

        return monitoring.watch(settings)

    run("watch", work, monitoring_text.watch, json_output)


def schedule(
    cron: Annotated[
        str | None, typer.Option(help="When to run, as cron writes it: '*/15 * * * *' is every quarter of an hour.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the schedule.")] = False,
    config: MonitorConfig = None,
    overrides: Overrides = None,
    model: Model = None,
    json_output: Json = False,
) -> None:
    """Let the active stack run `monitor` on a schedule, retraining and rollout included; on a laptop use `watch`.

    python run.py schedule --cron '*/15 * * * *' --config configs/monitor.yaml
    """
    from steps.pipeline_settings import MonitorSettings

    settings = load(MonitorSettings, config, overrides, **monitor_presets(model))
    if (cron is None) != remove:
        fail(SettingsError("expected either --cron or --remove, got both or neither"))
    check_cron(cron)

    def work() -> "Schedule | RemovedSchedule":
        from operations import scheduling

        return scheduling.unschedule(settings) if cron is None else scheduling.schedule(settings, cron)

    run("schedule", work, monitoring_text.schedule, json_output)


def demo_loop(
    to: Annotated[Path | None, typer.Option(metavar="DIR", help="A folder of its own; its content is deleted.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Your images instead of drawn ones; copies are blurred, darkened and badly compressed.")
    ] = None,
    config: Annotated[Path, typer.Option(help="The monitor's settings in it.")] = DEMO_LOOP,
    overrides: Overrides = None,
    json_output: Json = False,
) -> None:
    """Play the whole loop in minutes: images change, labels arrive late, poisoned labels and a bad model are refused."""
    from imageloop.workspace_paths import Workspace
    from steps.pipeline_settings import MonitorSettings

    folder = (to or Workspace.current().state / "demo-loop").absolute()
    settings = load(MonitorSettings, config, overrides)

    def work() -> "DemoLoopResult":
        from operations.demo_loop import scenario

        scenario.check(to, data)
        return scenario.run_demo_loop(folder, settings, data)

    run("demo-loop", work, monitoring_text.demo_loop, json_output)
