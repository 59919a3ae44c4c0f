"""Run the monitor: measure the deployed version, decide, retrain, roll out, notify; once, or until it is stopped."""

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from filelock import Timeout

from imageloop.adapters.active_stack import active_stack_id
from imageloop.adapters.zenml_client import check_parts, finished_run, open_stack
from imageloop.adapters.zenml_failures import failed_step
from imageloop.adapters.zenml_runs import named_run
from imageloop.errors import ImageLoopError
from imageloop.records.store.database import Decision
from imageloop.workspace_paths import Workspace
from operations.autoscaling import scale_until
from operations.monitor_status import NUM_SHOWN, postpone_due, read_memory, remember, show_status
from operations.retraining import carry_out
from seldon.delivery.clusters.open_cluster import open_cluster
from seldon.delivery.deployer.active_deployer import active_cluster
from seldon.delivery.deployer.last_deployment import read_deployed
from steps.pipeline_settings import MonitorSettings

if TYPE_CHECKING:
    from zenml.client import Client

logger = logging.getLogger(__name__)
SILENT_SECONDS = 900.0  # a monitor that shows nothing for so long, or for three intervals, is down
CARRYING_OUT_SECONDS = 6 * 3600.0  # a training and a rollout in stages
GIVE_UP_SECONDS = 3600.0  # a retraining that fails again and again, and not for a reason of its own


@dataclass(frozen=True)
class MonitoringRun:
    """One monitoring run: the decision with its explanation, reason and metrics, and what followed. Units: seconds.

    `finished`: outcomes of retrainings that an earlier run had begun. `outcome`: of the one that this run decided. `broken`: what does not serve.
    """

    stack: str
    action: str
    reason: str
    run: str | None = None
    version: str | None = None
    new_windows: int = 0
    collected: Any = None
    metrics: dict[str, Any] = field(default_factory=dict)
    explanation: str = ""
    finished: list[str] = field(default_factory=list)
    outcome: str | None = None
    broken: str = ""
    seconds: float = 0.0

    @property
    def outcomes(self) -> list[str]:
        """What became of every retraining that this run carried out."""
        return [*self.finished, *([self.outcome] if self.outcome else [])]


@dataclass(frozen=True)
class WatchResult:
    """The number of monitoring runs, and of the last ones that failed in a row."""

    passes: int
    failures: int


def monitor(settings: MonitorSettings) -> MonitoringRun:
    """Run the monitor once: start again what serves no more, finish what an earlier run began, then measure, decide and carry out.

    Raises: ImageLoopError where another process does so already.
    """
    started = time.monotonic()
    client = open_stack()
    from imageloop.lifecycle.choose_version import refuse_unknown  # MLflow

    refuse_unknown(settings.monitoring.model_name)
    settings = settings.on(active_cluster())
    workspace = Workspace.current()
    with _alone(workspace):
        broken = _repair_deployments(workspace)
        finished = _finish_interrupted(settings, workspace)
        result = _run_pipeline(settings, client)
        if broken:
            said = f"What is deployed does not serve, and could not be started again: {broken}. {result.explanation}"
            result = replace(result, broken=broken, explanation=said)
        outcome = None
        if result.action == "retrain":
            show_status(result, settings, workspace, due_seconds=CARRYING_OUT_SECONDS)
            (decision,) = _interrupted(settings, workspace)[-1:]
            outcome = _conclude(decision, carry_out(settings, decision), settings, workspace)
        newest = show_status(result, settings, workspace, due_seconds=max(SILENT_SECONDS, 3 * settings.interval_seconds))
        result = replace(result, finished=finished, outcome=outcome)
        _notify(result, result.outcomes, newest, settings, workspace)
    return replace(result, seconds=time.monotonic() - started)


def watch(settings: MonitorSettings) -> WatchResult:
    """Repeat monitoring runs until the process is stopped; a failed run is logged, and the next one follows."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopping.set())
    logger.info(
        "watching '%s' (deployment %s) every %g s, until Ctrl-C; what has not changed is not repeated",
        settings.monitoring.model_name, settings.rollout.name, settings.interval_seconds,
    )  # fmt: skip
    threading.Thread(target=scale_until, args=(stopping, Workspace.current(), active_stack_id()), daemon=True).start()
    passes = failures = 0
    said = ""
    while not stopping.is_set():
        begun = time.monotonic()
        try:
            result = monitor(settings)
            line = f"{result.action}: {result.explanation or result.reason}"
            failures = 0
        except Exception as error:  # the daemon goes on
            result, failures = None, failures + 1
            line = f"this monitoring run failed: {failed_step(error) or f'{type(error).__name__}: {error}'}"
        if line != said:
            logger.log(logging.WARNING if failures else logging.INFO, "%s  %s", _now(), line)
            said = line
        for outcome in result.outcomes if result else []:
            logger.info("%s  %s", _now(), outcome)
        passes += 1
        if settings.max_passes is not None and passes >= settings.max_passes:
            break
        stopping.wait(max(0.0, settings.interval_seconds - (time.monotonic() - begun)))
    stopping.set()
    return WatchResult(passes, failures)


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


def _repair_deployments(workspace: Workspace) -> str:
    """Start again what the active stack deployed on this machine, and what serves no more; the result says what failed, and is empty else."""
    last = read_deployed(workspace, active_stack_id())
    if last is None:
        return ""
    try:
        for repaired in open_cluster(last.cluster, workspace).repair():
            logger.warning("served no more, and was started again: %s", repaired)
    except ImageLoopError as error:
        logger.warning("what was deployed could not be started again: %s", error)
        return str(error)
    return ""


def _run_pipeline(settings: MonitorSettings, client: "Client") -> MonitoringRun:
    check_parts(client)
    from zenml import Model

    from pipelines.monitoring import monitoring

    stack = client.active_stack_model.name
    name = settings.monitoring.model_name
    with named_run(client, "monitoring", name, Workspace.current()) as run_name:
        configured = monitoring.with_options(model=Model(name=name), run_name=run_name)
        run = configured(settings.monitoring, settings.training.feedback.min_labels)
    if run is None:
        return MonitoringRun(stack, "submitted", "the dashboard shows the rest")
    steps = finished_run(client, run.id).steps
    verdict = steps["decide"].outputs["decision"][0].load()
    measurement = steps["measure"].outputs["measurement"][0].load()
    return MonitoringRun(
        stack=stack,
        run=run.name,
        version=measurement.version,
        new_windows=measurement.num_new,
        collected=steps["collect"].outputs["collected"][0].load(),
        action=verdict.action,
        reason=verdict.reason,
        metrics=verdict.metrics,
        explanation=verdict.explanation,
    )


def _interrupted(settings: MonitorSettings, workspace: Workspace) -> list[Decision]:
    """Decisions to retrain that have no outcome yet."""
    from imageloop.lifecycle.feedback_for_training import open_database

    with closing(open_database(workspace, settings.monitoring.database)) as database:
        return [one for one in database.decisions(settings.monitoring.model_name, NUM_SHOWN) if one.outcome is None]


def _finish_interrupted(settings: MonitorSettings, workspace: Workspace) -> list[str]:
    """Resume a retraining that a kill interrupted; its finished steps are read from the cache.

    A retraining that fails is retried by the next monitoring run, a limited number of times.
    """
    outcomes = []
    for decision in _interrupted(settings, workspace):
        logger.warning("a retraining was interrupted, and is carried out again: %s", decision.reason)
        postpone_due(workspace, CARRYING_OUT_SECONDS)
        try:
            outcomes.append(_conclude(decision, carry_out(settings, decision), settings, workspace))
        except Exception as error:
            reason, key = f"{type(error).__name__}: {error}", f"failing since {decision.decision_id}"
            since = float(read_memory(workspace).get(key, time.time()))
            if time.time() - since > GIVE_UP_SECONDS:
                outcomes.append(_conclude(decision, f"failed: {reason}", settings, workspace))
            else:
                remember(workspace, key, since)
                logger.warning("the retraining failed, and the next monitoring run tries it again: %s", reason)
    return outcomes


def _conclude(decision: Decision, outcome: str, settings: MonitorSettings, workspace: Workspace) -> str:
    """Store the outcome with the decision, and return it."""
    from imageloop.lifecycle.feedback_for_training import open_database

    with closing(open_database(workspace, settings.monitoring.database)) as database:
        database.conclude(decision.decision_id, outcome)
    return outcome


@contextmanager
def _alone(workspace: Workspace) -> Iterator[None]:
    """Raises: ImageLoopError where another process monitors."""
    try:
        with workspace.lock("watch").acquire(timeout=0):
            yield
    except Timeout:
        raise ImageLoopError(
            "another process runs the monitor here, and only one may retrain and roll out; wait for it, or stop it"
        ) from None


def _notify(result: MonitoringRun, outcomes: list[str], newest: str, settings: MonitorSettings, workspace: Workspace) -> None:
    """Notify Alertmanager each time, since an alert that is not repeated is over; a channel only of news."""
    from imageloop.adapters.alerter.alerter import active_alerter

    alerter, name = active_alerter(), settings.monitoring.model_name
    kind = "retrain" if outcomes else "alert" if result.broken else result.action
    known, news = f"{'broken' if result.broken else 'notified'} {name}", result.broken or newest
    if not result.broken and read_memory(workspace).get(f"broken {name}"):
        remember(workspace, f"broken {name}", "")  # so that it is news where it breaks again
    if alerter is None or kind not in ("alert", "retrain", "no_data"):
        return
    is_news = bool(outcomes) or news != read_memory(workspace).get(known)
    text = " → ".join([result.broken or result.reason, *outcomes])
    if alerter.notify(kind, name, text, result.metrics, is_news=is_news):
        remember(workspace, known, news)
