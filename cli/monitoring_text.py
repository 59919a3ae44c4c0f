"""How the commands of monitoring show their results to a user."""

from typing import TYPE_CHECKING

from cli.output import percent, summary

if TYPE_CHECKING:
    from rich.console import Group

    from operations.demo_loop.demo_loop_summary import DemoLoopSummary
    from operations.demo_loop.scenario import DemoLoopResult
    from operations.monitoring import MonitoringRun, WatchResult
    from operations.scheduling import RemovedSchedule, Schedule


NUM_FAILURES = 3


def monitoring_run(result: "MonitoringRun") -> "Group":
    """Show the decision in two sentences, its reason and its outcome; the metrics behind it are in --json."""
    from rich.console import Group

    rows = [("reason", result.reason)] if result.explanation else []
    rows += [("outcome", result.outcome)] if result.outcome else []
    rows += [("finished", outcome) for outcome in result.finished]
    if result.run is not None:
        rows += [
            ("version", f"{result.version}, {result.new_windows} new windows"),
            ("run", f"{result.run} (stack '{result.stack}'), {result.seconds:.1f} s"),
        ]
    return Group(f"{result.action}: {result.explanation or result.reason}", *([summary(*rows)] if rows else []))


def watch(result: "WatchResult") -> str:
    """Count the monitoring runs, and the last ones that failed in a row."""
    failures = f"; the last {result.failures} failed" if result.failures else ""
    return f"{result.passes} monitoring runs{failures}"


def schedule(result: "Schedule | RemovedSchedule") -> str:
    """Say which schedule exists now, or was removed."""
    from operations.scheduling import Schedule

    if isinstance(result, Schedule):
        return f"the stack '{result.stack}' runs it at '{result.cron}' (schedule '{result.schedule}')"
    return f"schedule '{result.schedule}' {'was removed' if result.removed else 'does not exist'}"


def _estimate(figures: "DemoLoopSummary") -> str:
    if figures.estimated_accuracy is None:
        return "none with changed images: they are too unlike the known ones"
    interval = (
        ""
        if figures.estimated_low is None or figures.estimated_high is None
        else f" ({percent(figures.estimated_low)} to {percent(figures.estimated_high)})"
    )
    return f"{percent(figures.estimated_accuracy)}{interval} with changed images, without labels"


def demo_loop(result: "DemoLoopResult") -> "Group":
    """Show each scenario with its outcome, and the accuracy during each."""
    from rich.console import Group

    scenarios = [f"{scenario.headline} ({scenario.seconds:.0f} s)\n    {scenario.outcome}" for scenario in result.scenarios]
    figures = result.summary
    noticed = figures.images_until_drift
    rows = [
        ("drift", "not noticed" if noticed is None else f"noticed after {noticed} changed images"),
        (
            "accuracy",
            f"{percent(figures.accuracy_before)}, with changed images {percent(figures.accuracy_during)}, "
            f"after {'a retraining' if figures.promoted else 'labels'} {percent(figures.accuracy_after)}",
        ),
        ("estimate", _estimate(figures)),
        (
            "labels",
            f"{figures.labels} sent; {figures.poisoned_labels} poisoned ones {'refused' if figures.poisoned_labels_refused else 'believed'}",
        ),
        ("retraining", f"promoted version {figures.promoted}" if figures.promoted else "promoted no version"),
        ("by scenario", ", ".join(f"{title} {percent(share)}" for title, share in result.accuracy.items())),
        ("requests", f"{result.requests}, {len(result.failed_requests)} failed"),
        *(("", failure) for failure in result.failed_requests[:NUM_FAILURES]),
        ("timeline", result.timeline),
        ("seconds", f"{result.seconds:.0f}"),
    ]
    return Group("", *scenarios, "", summary(*rows))
