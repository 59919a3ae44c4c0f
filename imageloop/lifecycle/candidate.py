"""Choose the version to deploy, and check that it may serve."""

from pathlib import Path

from imageloop.adapters.mlflow_registry import ModelRegistry, RegisteredVersion
from imageloop.errors import ImageLoopError
from imageloop.lifecycle.rollback import record_noted_rollbacks
from imageloop.promotion.step_artifacts import Candidate
from imageloop.workspace_paths import Workspace


def choose_candidate(model_name: str, version: str | None, *, also_refused: bool) -> Candidate:
    """The version that is asked for, by default the champion.

    Raises: ImageLoopError if there is none, or it was refused.
    """
    record_noted_rollbacks(Workspace.current())
    registry = ModelRegistry(model_name)
    chosen = version or registry.champion()
    if chosen is None:
        raise ImageLoopError(f"expected a champion of '{model_name}' to deploy, got none; run: python run.py train")
    registered = _deployable(registry, chosen, also_refused=also_refused)
    return Candidate(model_name=model_name, version=chosen, uri=registry.package_uri(chosen), run_id=registered.run_id)


def check_still_deployable(candidate: Candidate, *, also_refused: bool) -> None:
    """Check again right before the rollout: the version may have been rolled back since it was chosen.

    Raises: ImageLoopError.
    """
    record_noted_rollbacks(Workspace.current())
    _deployable(ModelRegistry(candidate.model_name), candidate.version, also_refused=also_refused)


def _deployable(registry: ModelRegistry, version: str, *, also_refused: bool) -> RegisteredVersion:
    registered = registry.get(version)
    if registered.verdict == "rollback" and not also_refused:
        raise ImageLoopError(
            f"expected a version that may serve, got {version}, which was refused: {registered.reason}; "
            "train a better one, or --set keep_refused_version=true"
        )
    return registered


def package_of(candidate: Candidate) -> Path:
    """A copy of the candidate's package on this machine."""
    return ModelRegistry(candidate.model_name).package(candidate.version)
