"""Look after what serves: measure it, decide, retrain, roll out, tell; once, or for ever."""

import json
import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import Timeout

from imageloop.adapters.zenml_client import check_parts, finished_run, open_stack, open_store
from imageloop.adapters.zenml_failures import failed_step
from imageloop.atomic_files import replacing
from imageloop.errors import ImageLoopError
from imageloop.monitoring.decisions import HELPED
from imageloop.training.settings import Imitation
from imageloop.workspace_paths import Workspace
from steps.pipeline_settings import TrainSettings, UnattendedRollout, WatchSettings

logger = logging.getLogger(__name__)
NUM_SHOWN = 20
STATUS_FILE = "loop.json"
MEMORY_FILE, NUM_REMEMBERED = "watch.json", 20
SILENT_SECONDS = 900.0  # a watch that shows nothing for so long, or for three intervals, is down
CARRYING_OUT_SECONDS = 6 * 3600.0  # a training and a rollout in stages
GIVE_UP_SECONDS = 3600.0  # a retraining that fails again and again, and not for a reason of its own


def monitor(settings: WatchSettings) -> dict[str, Any]:
    """One pass: what was begun before is finished first, then all is measured, decided and carried out.

    Raises: ImageLoopError where another process is at it.
    """
    started = time.monotonic()
    workspace = Workspace.current()
    with _alone(workspace):
        finished = _finish_what_was_begun(settings, workspace)
        result = _look(settings)
        outcome = None
        if result["action"] == "retrain":
            _show(result, settings, workspace, due_seconds=CARRYING_OUT_SECONDS)
            (decision,) = _begun(settings, workspace)[-1:]
            outcome = _carry_out(decision, settings, workspace)
        newest = _show(result, settings, workspace, due_seconds=max(SILENT_SECONDS, 3 * settings.interval_seconds))
        _tell(result, [*finished, *([outcome] if outcome else [])], newest, settings, workspace)
    return result | {"finished": finished, "outcome": outcome, "seconds": time.monotonic() - started}


def watch(settings: WatchSettings) -> dict[str, Any]:
    """Pass after pass until the process is told to stop; a pass that fails is told of, and the next one comes."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopping.set())
    passes = failures = 0
    while not stopping.is_set():
        begun = time.monotonic()
        try:
            result = monitor(settings)
            logger.info("%s: %s%s", result["action"], result["reason"], f" → {result['outcome']}" if result["outcome"] else "")
            failures = 0
        except Exception as error:  # a watch goes on
            failures += 1
            logger.warning(
                "this pass failed, %d in a row: %s", failures, failed_step(error) or f"{type(error).__name__}: {error}"
            )
        passes += 1
        if settings.max_passes is not None and passes >= settings.max_passes:
            break
        stopping.wait(max(0.0, settings.interval_seconds - (time.monotonic() - begun)))
    return {"passes": passes, "failures": failures}


def _look(settings: WatchSettings) -> dict[str, Any]:
    """Run the monitoring pipeline."""
    client = open_stack()
    check_parts(client)
    from zenml import Model

    from pipelines.monitoring import monitoring

    configured = monitoring.with_options(model=Model(name=settings.monitoring.model_name))
    run = configured(settings.monitoring, settings.training.experience.min_labels)
    if run is None:
        return {"stack": client.active_stack_model.name, "action": "submitted", "reason": "the dashboard shows the rest"}
    steps = finished_run(client, run.id).steps
    verdict = steps["decide"].outputs["decision"][0].load()
    measurement = steps["measure"].outputs["measurement"][0].load()
    return {
        "stack": client.active_stack_model.name,
        "run": run.name,
        "version": measurement.version,
        "new_windows": measurement.num_new,
        "collected": steps["collect"].outputs["collected"][0].load(),
        "action": verdict.action,
        "reason": verdict.reason,
        "figures": verdict.figures,
    }


def _begun(settings: WatchSettings, workspace: Workspace) -> list[Any]:
    from imageloop.lifecycle.feedback import open_database

    database = open_database(workspace, settings.monitoring.database)
    found = [one for one in database.decisions(settings.monitoring.model_name, NUM_SHOWN) if one.outcome is None]
    database.close()
    return found


def _finish_what_was_begun(settings: WatchSettings, workspace: Workspace) -> list[str]:
    """A retraining that a kill cut off is carried out again: what was done of it comes from the cache.

    One that fails is tried again by the next pass, which looks and tells all the same, and after a while no more.
    """
    outcomes = []
    for decision in _begun(settings, workspace):
        logger.warning("a retraining was cut off; carrying it out: %s", decision.reason)
        _postpone(workspace, CARRYING_OUT_SECONDS)
        try:
            outcomes.append(_carry_out(decision, settings, workspace))
        except Exception as error:
            said, key = f"{type(error).__name__}: {error}", f"failing since {decision.decision_id}"
            since = float(_remembered(workspace).get(key, time.time()))
            if time.time() - since > GIVE_UP_SECONDS:
                outcomes.append(_conclude(decision, f"failed: {said}", settings, workspace))
            else:
                _remember(workspace, key, since)
                logger.warning("it failed, and is tried again by the next pass: %s", said)
    return outcomes


def _remembered(workspace: Workspace) -> dict[str, Any]:
    """What the passes of this machine tell each other: who was told of what, and what fails since when."""
    try:
        found: dict[str, Any] = json.loads((workspace.state / MEMORY_FILE).read_text())
    except (OSError, ValueError):
        return {}
    return found


def _remember(workspace: Workspace, key: str, value: Any) -> None:
    kept = dict([*_remembered(workspace).items(), (key, value)][-NUM_REMEMBERED:])
    with replacing(workspace.state / MEMORY_FILE) as aside:
        aside.write_text(json.dumps(kept))


def _carry_out(decision: Any, settings: WatchSettings, workspace: Workspace) -> str:
    """Retrain and roll out; whatever comes of it is kept with the decision."""
    try:
        outcome = _retrain_and_roll_out(settings, decision)
    except Exception as error:
        found = failed_step(error)
        if found is None:
            raise
        outcome = f"refused: {found}"
    return _conclude(decision, outcome, settings, workspace)


def _conclude(decision: Any, outcome: str, settings: WatchSettings, workspace: Workspace) -> str:
    from imageloop.lifecycle.feedback import open_database

    database = open_database(workspace, settings.monitoring.database)
    database.conclude(decision.decision_id, outcome)
    database.close()
    return outcome


def _retrain_and_roll_out(settings: WatchSettings, decision: Any) -> str:
    """A champion that learnt from labels since the decision, and whose rollout was cut off, is rolled out: another would have nothing to learn."""
    from imageloop.adapters.mlflow_registry import ModelRegistry
    from imageloop.lifecycle.rollback import tell_of_rollbacks
    from operations import deployment

    started = time.monotonic()
    open_store()
    tell_of_rollbacks(Workspace.current())
    registry = ModelRegistry(settings.monitoring.model_name)
    version = registry.champion()
    if version is None or not registry.learnt_since(version, decision.time):
        trained = _retrain(settings, decision.figures.get("imitation"))
        if trained["outcome"] != "champion":
            return f"{trained['outcome']}: version {trained['model_version']} {trained['reason']}"
        version = str(trained["model_version"])
    trained_after = time.monotonic() - started
    served = deployment.deploy(_expecting(registry.changed_on_recent(version), settings.rollout))
    together = time.monotonic() - started
    return (
        f"{HELPED}: version {served['version']} serves, {together:.0f} s after the decision "
        f"(retraining {trained_after:.0f}, rollout {together - trained_after:.0f}), {served['outcome']}"
    )


def _retrain(settings: WatchSettings, imitation: dict[str, float] | None) -> dict[str, Any]:
    """From labelled answers, or from copies of the pictures in the new light."""
    from operations import training

    learning = {
        "enabled": True,
        "imitation": Imitation(**imitation) if imitation else None,
        "database": settings.monitoring.database,
    }
    experience = settings.training.experience.model_copy(update=learning)
    return training.train(_as_the_champion_was(settings.training).model_copy(update={"experience": experience}))


def _as_the_champion_was(settings: TrainSettings) -> TrainSettings:
    """The pictures and the training of the champion, where the watch was told of no others."""
    from imageloop.adapters.mlflow_registry import ModelRegistry

    registry = ModelRegistry(settings.promotion.model_name)
    champion = registry.champion()
    made = registry.made_with(champion) if champion else None
    if made is None:
        return settings
    usual = TrainSettings()
    told = {"data": settings.data != usual.data, "training": settings.training != usual.training}
    return settings.model_copy(update={name: getattr(made, name) for name, is_told in told.items() if not is_told})


def _expecting(changed: float, rollout: UnattendedRollout) -> UnattendedRollout:
    """Where labels say that what serves is wrong on a share of the pictures, its successor answers those otherwise, and shall."""
    judge = rollout.judge
    allowed = {
        "max_mix_distance": min(1.0, judge.max_mix_distance + changed),
        "min_agreement": max(0.0, judge.min_agreement - changed),
    }
    return rollout.model_copy(update={"judge": judge.model_copy(update=allowed)})


@contextmanager
def _alone(workspace: Workspace) -> Iterator[None]:
    """Raises: ImageLoopError where another process watches."""
    try:
        with workspace.lock("watch").acquire(timeout=0):
            yield
    except Timeout:
        raise ImageLoopError(
            "wanted to look after what serves, found another process at it; only one may retrain and roll out"
        ) from None


def _show(result: dict[str, Any], settings: WatchSettings, workspace: Workspace, *, due_seconds: float) -> str:
    """Write the status file, for the page and for Prometheus. `due_seconds`: whoever sees no other one by then may worry.

    Returns: the id of the newest decision, empty where there is none. A verdict that is the same as the one before is not kept again.
    """
    from imageloop.lifecycle.feedback import open_database

    database = open_database(workspace, settings.monitoring.database)
    name, now = settings.monitoring.model_name, time.time()
    decisions = database.decisions(name, NUM_SHOWN)
    status = {
        "time": datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds"),
        "timestamp": now,
        "due": now + due_seconds,
        "model": name,
        "version": result.get("version"),
        "action": result["action"],
        "reason": result["reason"],
        "figures": result.get("figures", {}),
        "windows": [
            {
                key: row[key]
                for key in ("version", "start", "end", "count", "p_value", "alarm", "estimated_accuracy", "unfamiliar_share")
            }
            for row in database.windows(name, NUM_SHOWN)
        ],
        "decisions": [
            {"time": one.time, "action": one.action, "reason": one.reason, "outcome": one.outcome} for one in decisions
        ],
    }
    database.close()
    write_status(workspace, status)
    return decisions[-1].decision_id if decisions else ""


def _postpone(workspace: Workspace, seconds: float) -> None:
    """The status file stays as it is; who waits for another one shall wait longer."""
    file = workspace.state / "serving" / STATUS_FILE
    if file.exists():
        write_status(workspace, json.loads(file.read_text()) | {"due": time.time() + seconds})


def _tell(result: dict[str, Any], outcomes: list[str], newest: str, settings: WatchSettings, workspace: Workspace) -> None:
    """Whoever is to be told: Alertmanager each time, since an alert that is not repeated is over; a channel of what it was not told yet."""
    from imageloop.adapters.alerter.alerter import active_alerter

    alerter = active_alerter()
    kind = "retrain" if outcomes else result["action"]
    if alerter is None or kind not in ("alert", "retrain", "no_data"):
        return
    name = settings.monitoring.model_name
    is_news = bool(outcomes) or newest != _remembered(workspace).get(f"told {name}")
    text = " → ".join([result["reason"], *outcomes])
    if alerter.tell(kind, name, text, result.get("figures", {}), is_news=is_news):
        _remember(workspace, f"told {name}", newest)


def write_status(workspace: Workspace, status: dict[str, Any]) -> Path:
    """Where the service finds it for the page."""
    file = workspace.state / "serving" / STATUS_FILE
    with replacing(file) as aside:
        aside.write_text(json.dumps(status, indent=1))
    return file


def describe(result: dict[str, Any]) -> str:
    """For a person."""
    lines = [f"{result['action']}: {result['reason']}"]
    if result.get("outcome"):
        lines.append(f"outcome        {result['outcome']}")
    lines += [f"finished       {one}" for one in result.get("finished", [])]
    if "figures" in result:
        shown = {name: value for name, value in result["figures"].items() if value is not None}
        lines.append("figures        " + ", ".join(f"{name} {_short(value)}" for name, value in shown.items()))
        lines.append(f"version        {result['version']}, {result['new_windows']} new windows")
        lines.append(f"run            {result['run']} (stack '{result['stack']}'), {result['seconds']:.1f} s")
    return "\n".join(lines)


def describe_watch(result: dict[str, Any]) -> str:
    return (
        f"looked {result['passes']} times; the last {result['failures']} failed"
        if result["failures"]
        else f"looked {result['passes']} times"
    )


def _short(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
