"""Record the verdicts of a rollout in the tracker, and rollbacks in the registry."""

import json
import logging
from typing import Any

from imageloop.adapters.mlflow_registry import ModelRegistry, UnknownVersionError, promotion_lock
from imageloop.adapters.mlflow_tracking import connect
from imageloop.adapters.registered_version import ROLLED_BACK, ROLLOUT
from imageloop.atomic_files import replacing
from imageloop.model.served_versions import versions_in
from imageloop.workspace_paths import Workspace

logger = logging.getLogger(__name__)


def record_verdict(run_id: str, stage: str, metrics: dict[str, Any]) -> None:
    """Log the metrics of one stage on the MLflow run that made the model."""
    import mlflow

    connect()
    client = mlflow.MlflowClient()
    prefix = stage.replace(" ", "_").replace("%", "percent")
    for predictor in ("stable", "candidate"):
        for name, value in (metrics.get(predictor) or {}).items():
            if value is not None:
                client.log_metric(run_id, f"rollout/{prefix}/{predictor}/{name}", float(value))


def revoke(model_name: str, bad: str, good: str | None, reason: str, workspace: Workspace) -> None:
    """Mark a version as rolled back; where it is the champion, the version that serves becomes champion again.

    `good`: may name several versions that serve together; the first of them that may be champion becomes it.
    Raises: UnknownVersionError.
    """
    registry = ModelRegistry(model_name)
    registry.get(bad)
    with promotion_lock(workspace):
        registry.set_verdict(bad, "rollback", ROLLED_BACK)
        registry.set_tag(bad, "reason", reason[:500])
        registry.set_tag(bad, ROLLOUT, json.dumps({"outcome": "rolled_back"}))
        if good is not None and registry.champion() == bad and (heir := _heir(registry, bad, good)) is not None:
            registry.promote(heir)


def _heir(registry: ModelRegistry, bad: str, good: str) -> str | None:
    """The version that becomes champion; of several none that was never approved, or is the bad one itself."""
    versions = versions_in(good)
    if len(versions) == 1:
        return good
    return next((one for one in versions if one != bad and registry.get(one).verdict == "advance"), None)


def note_rollback(
    model_name: str, bad: str, good: str | None, reason: str, workspace: Workspace, *, registry: str | None = None
) -> None:
    """Write a note that keeps the bad version from being chosen until the registry has recorded the rollback.

    Traffic moves first, and the registry may not respond. `registry`: its address, where it is not the active stack's.
    """
    with replacing(workspace.rollbacks / f"{model_name}--{bad}.json") as aside:
        noted = {"model_name": model_name, "bad": bad, "good": good, "reason": reason, "registry": registry}
        aside.write_text(json.dumps(noted))


def record_noted_rollbacks(workspace: Workspace) -> None:
    """Record the rollbacks of all notes in the registry; a note on a version that it does not know is renamed to `.unknown`."""
    for note in sorted(workspace.rollbacks.glob("*.json")):
        noted = json.loads(note.read_text())
        registry = noted.pop("registry", None)
        if registry and registry != connect():
            logger.info(
                "version %s of '%s' belongs to another registry, which records its rollback", noted["bad"], noted["model_name"]
            )
            continue
        try:
            revoke(**noted, workspace=workspace)
        except UnknownVersionError as error:
            if registry is None:
                raise
            logger.warning("the registry cannot record a rollback: %s", error)
            note.rename(note.with_suffix(".unknown"))
        note.unlink(missing_ok=True)
