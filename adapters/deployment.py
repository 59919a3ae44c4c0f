"""What the registry and the tracker are told of a rollout."""

import json
import logging
from pathlib import Path
from typing import Any

from adapters.registry import ModelRegistry, promotion_lock
from classifier.errors import ImageLoopError
from classifier.promotion.records import Candidate
from classifier.workspace import Workspace

logger = logging.getLogger(__name__)


def candidate(model_name: str, version: str | None, *, also_refused: bool) -> Candidate:
    """A version that may serve, by default the champion.

    Raises: ImageLoopError if there is none, or a gate refused it.
    """
    registry = ModelRegistry(model_name)
    chosen = version or registry.champion()
    if chosen is None:
        raise ImageLoopError(f"wanted a champion of '{model_name}' to deploy, found none; run: python run.py train")
    found = registry.get(chosen)
    if found.verdict == "rollback" and not also_refused:
        raise ImageLoopError(
            f"wanted a version that may serve, found {chosen}, which was refused: {found.reason}; train a better one, or --set keep_refused_version=true"
        )
    return Candidate(model_name=model_name, version=chosen, uri=registry.package_uri(chosen), run_id=found.run_id)


def package_of(candidate: Candidate) -> Path:
    """A copy of what shall serve, on this machine."""
    return ModelRegistry(candidate.model_name).package(candidate.version)


def tell_of_verdict(run_id: str, stage: str, figures: dict[str, Any]) -> None:
    """Figures of one stage, on the MLflow run that made the model."""
    import mlflow

    from adapters.tracking import connect

    connect()
    client = mlflow.MlflowClient()
    place = stage.replace(" ", "_").replace("%", "percent")
    for who in ("stable", "candidate"):
        for name, value in (figures.get(who) or {}).items():
            if value is not None:
                client.log_metric(run_id, f"rollout.{place}.{who}.{name}", float(value))


def take_back(model_name: str, bad: str, good: str | None, reason: str, workspace: Workspace) -> None:
    """A version that was rolled back is champion no more; the one that serves is."""
    registry = ModelRegistry(model_name)
    with promotion_lock(workspace):
        registry.set_tag(bad, "verdict", "rollback")
        registry.set_tag(bad, "reason", reason[:500])
        registry.set_tag(bad, "rollout", json.dumps({"outcome": "rolled_back"}))
        if good is not None and registry.champion() == bad:
            registry.promote(good)
