"""What the registry and the tracker are told of a rollout."""

import json
import logging
from pathlib import Path
from typing import Any

from imageloop.adapters.mlflow_registry import ModelRegistry, RegisteredVersion, UnknownVersionError, promotion_lock
from imageloop.adapters.mlflow_tracking import connect
from imageloop.atomic_files import replacing
from imageloop.errors import ImageLoopError
from imageloop.promotion.step_artifacts import Candidate
from imageloop.workspace_paths import Workspace

logger = logging.getLogger(__name__)


def candidate(model_name: str, version: str | None, *, also_refused: bool) -> Candidate:
    """A version that may serve, by default the champion.

    Raises: ImageLoopError if there is none, or a gate refused it.
    """
    tell_of_rollbacks(Workspace.current())
    registry = ModelRegistry(model_name)
    chosen = version or registry.champion()
    if chosen is None:
        raise ImageLoopError(f"wanted a champion of '{model_name}' to deploy, found none; run: python run.py train")
    found = _may_serve(registry, chosen, also_refused=also_refused)
    return Candidate(model_name=model_name, version=chosen, uri=registry.package_uri(chosen), run_id=found.run_id)


def still_chosen(candidate: Candidate, *, also_refused: bool) -> None:
    """Right before it is rolled out: somebody may have rolled it back since it was chosen.

    Raises: ImageLoopError.
    """
    tell_of_rollbacks(Workspace.current())
    _may_serve(ModelRegistry(candidate.model_name), candidate.version, also_refused=also_refused)


def _may_serve(registry: ModelRegistry, version: str, *, also_refused: bool) -> RegisteredVersion:
    found = registry.get(version)
    if found.verdict == "rollback" and not also_refused:
        raise ImageLoopError(
            f"wanted a version that may serve, found {version}, which was refused: {found.reason}; train a better one, or --set keep_refused_version=true"
        )
    return found


def package_of(candidate: Candidate) -> Path:
    """A copy of what shall serve, on this machine."""
    return ModelRegistry(candidate.model_name).package(candidate.version)


def tell_of_verdict(run_id: str, stage: str, figures: dict[str, Any]) -> None:
    """Figures of one stage, on the MLflow run that made the model."""
    import mlflow

    connect()
    client = mlflow.MlflowClient()
    place = stage.replace(" ", "_").replace("%", "percent")
    for who in ("stable", "candidate"):
        for name, value in (figures.get(who) or {}).items():
            if value is not None:
                client.log_metric(run_id, f"rollout.{place}.{who}.{name}", float(value))


def take_back(model_name: str, bad: str, good: str | None, reason: str, workspace: Workspace) -> None:
    """A version that was rolled back is champion no more; the one that serves is.

    Raises: UnknownVersionError.
    """
    registry = ModelRegistry(model_name)
    registry.get(bad)
    with promotion_lock(workspace):
        registry.set_tag(bad, "verdict", "rollback")
        registry.set_tag(bad, "reason", reason[:500])
        registry.set_tag(bad, "rollout", json.dumps({"outcome": "rolled_back"}))
        if good is not None and registry.champion() == bad:
            registry.promote(good)


def note_rollback(
    model_name: str, bad: str, good: str | None, reason: str, workspace: Workspace, *, registry: str | None = None
) -> None:
    """Traffic moves first, and the registry may be out of reach: until it was told, the note keeps the bad version from being chosen.

    `registry`: its address, where the version is of another than the active stack's.
    """
    with replacing(workspace.rollbacks / f"{model_name}--{bad}.json") as aside:
        noted = {"model_name": model_name, "bad": bad, "good": good, "reason": reason, "registry": registry}
        aside.write_text(json.dumps(noted))


def tell_of_rollbacks(workspace: Workspace) -> None:
    """Tell the registry what notes are left for it; what it does not know is set aside."""
    for note in sorted(workspace.rollbacks.glob("*.json")):
        noted = json.loads(note.read_text())
        registry = noted.pop("registry", None)
        if registry and registry != connect():
            logger.info(
                "version %s of '%s' is of another registry: its rollback is told there", noted["bad"], noted["model_name"]
            )
            continue
        try:
            take_back(**noted, workspace=workspace)
        except UnknownVersionError as error:
            if registry is None:
                raise
            logger.warning("a rollback cannot be told to the registry: %s", error)
            note.rename(note.with_suffix(".unknown"))
        note.unlink(missing_ok=True)
