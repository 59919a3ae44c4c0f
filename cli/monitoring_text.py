"""How the commands of monitoring show their results to a user."""

from typing import TYPE_CHECKING, Any

from cli.output import percent, row

if TYPE_CHECKING:
    from operations.demo_loop.scenario import DemoLoopResult
    from operations.monitoring import MonitoringRun, WatchResult
    from operations.scheduling import RemovedSchedule, Schedule


def monitoring_run(result: "MonitoringRun") -> str:
    """The decision, its reason, its outcome, and the metrics behind it."""
    lines = [f"{result.action}: {result.reason}"]
    if result.outcome:
        lines.append(row("outcome", result.outcome))
    lines += [row("finished", one) for one in result.finished]
    if result.run is not None:
        metrics = {name: value for name, value in result.metrics.items() if value is not None}
        lines.append(row("metrics", ", ".join(f"{name} {_short(value)}" for name, value in metrics.items())))
        lines.append(row("version", f"{result.version}, {result.new_windows} new windows"))
        lines.append(row("run", f"{result.run} (stack '{result.stack}'), {result.seconds:.1f} s"))
    return "\n".join(lines)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def watch(result: "WatchResult") -> str:
    failures = f"; the last {result.failures} failed" if result.failures else ""
    return f"{result.passes} monitoring runs{failures}"


def schedule(result: "Schedule | RemovedSchedule") -> str:
    from operations.scheduling import Schedule

    if isinstance(result, Schedule):
        return f"the stack '{result.stack}' runs the monitor at '{result.cron}' (schedule '{result.schedule}')"
    return f"schedule '{result.schedule}' {'was removed' if result.removed else 'does not exist'}"


def demo_loop(result: "DemoLoopResult") -> str:
    """Each scenario with its outcome, and the accuracy during each."""
    scenarios = [f"{one.title} ({one.seconds:.0f} s)\n    {one.outcome}" for one in result.scenarios]
    return "\n".join(
        [
            "",
            *scenarios,
            "",
            row("accuracy", ", ".join(f"{title} {percent(share)}" for title, share in result.accuracy.items())),
            row("requests", f"{result.requests}, {len(result.failed_requests)} failed"),
            *(f"  {failure}" for failure in result.failed_requests[:3]),
            row("timeline", result.timeline),
            row("seconds", f"{result.seconds:.0f}"),
        ]
    )
