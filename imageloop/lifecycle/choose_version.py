"""Choose the version to deploy, and check that it may serve."""

import logging
from pathlib import Path

from imageloop.adapters.mlflow_registry import ModelRegistry
from imageloop.adapters.registered_version import RegisteredVersion
from imageloop.errors import ImageLoopError
from imageloop.lifecycle.rollback import record_noted_rollbacks
from imageloop.model.package import read_info
from imageloop.promotion.champion_comparison import changed_classes
from imageloop.promotion.step_artifacts import Candidate
from imageloop.workspace_paths import Workspace

logger = logging.getLogger(__name__)


def choose_candidate(model_name: str, version: str | None, *, also_refused: bool) -> Candidate:
    """The version that is asked for, by default the champion.

    Raises: ImageLoopError if there is none, or it was refused.
    """
    registered = find_candidate(model_name, version, also_refused=also_refused)
    chosen = registered.version
    if registered.verdict == "hold":
        logger.warning("version %s awaits approval, and is deployed because it was asked for: %s", chosen, registered.reason)
    uri = ModelRegistry(model_name).package_uri(chosen)
    return Candidate(model_name=model_name, version=chosen, uri=uri, run_id=registered.run_id)


def find_candidate(model_name: str, version: str | None, *, also_refused: bool) -> RegisteredVersion:
    """What the registry says of the version that is asked for, by default the champion: also a check before a pipeline is started.

    Raises: ImageLoopError if there is none, or it was refused.
    """
    record_noted_rollbacks(Workspace.current())
    registry = ModelRegistry(model_name)
    chosen = version or registry.champion()
    if chosen is None:
        raise ImageLoopError(
            f"expected a champion of '{model_name}' to deploy, got none; {_way_to_a_champion(registry, model_name)}"
        )
    return _deployable(registry, chosen, also_refused=also_refused)


def _way_to_a_champion(registry: ModelRegistry, model_name: str) -> str:
    """The next command of a user whose model has no champion."""
    versions = registry.versions()
    if not versions:
        return f"train a model first: python run.py train --model {model_name}{other_models(registry)}"
    newest = versions[0]
    if newest.verdict == "hold":
        return f"version {newest.version} awaits approval: python run.py approve {newest.version} --model {model_name}"
    return (
        f"no version may serve; the reasons: python run.py versions --model {model_name}; to overrule that of the newest: "
        f"python run.py approve {newest.version} --model {model_name} --reason TEXT"
    )


def other_models(registry: ModelRegistry) -> str:
    """The end of a message about a model without versions: those that have some, for the name may be misspelt."""
    names = registry.model_names()
    return f"; these have versions: {', '.join(names)}" if names else ""


def refuse_unknown(model_name: str) -> None:
    """Raises: ImageLoopError for a model without any version, whose name may be misspelt."""
    registry = ModelRegistry(model_name)
    if not registry.versions():
        raise ImageLoopError(
            f"expected the name of a model, got '{model_name}', which has no version; train it: python run.py train --model {model_name}"
            f"{other_models(registry)}"
        )


def check_still_deployable(candidate: Candidate, *, also_refused: bool) -> RegisteredVersion:
    """Check again right before the rollout, for the version may have been rolled back since it was chosen, and return what is registered.

    Raises: ImageLoopError.
    """
    record_noted_rollbacks(Workspace.current())
    return _deployable(ModelRegistry(candidate.model_name), candidate.version, also_refused=also_refused)


def check_same_classes(candidate: Candidate, package: Path, serving_model: str, serving_version: str) -> None:
    """Refuse a candidate whose classes differ from those of the version that serves, for clients would get other labels.

    `package`: the folder of the candidate's package.
    Raises: ImageLoopError that names the classes.
    """
    if (serving_model, serving_version) == (candidate.model_name, candidate.version):
        return
    try:
        before = ModelRegistry(serving_model).class_names(serving_version)
    except ImageLoopError as error:
        logger.warning("the classes of version %s, which serves, are not known: %s", serving_version, error)
        return
    after = read_info(package).class_names
    if set(before) != set(after):
        raise ImageLoopError(
            f"expected the classes of version {serving_version}, which serves ({', '.join(before)}), got version {candidate.version} with "
            f"{changed_classes(before, after)}: clients would get other labels; to change them: "
            f"python run.py deploy --model {candidate.model_name} --version {candidate.version} --allow-class-change"
        )


def _deployable(registry: ModelRegistry, version: str, *, also_refused: bool) -> RegisteredVersion:
    registered = registry.get(version)
    if registered.verdict == "rollback" and not also_refused:
        raise ImageLoopError(
            f"expected a version that may serve, got {version}, which was refused: {registered.reason}; "
            "train a better one, or --set allow_refused_version=true"
        )
    return registered


def package_of(candidate: Candidate) -> Path:
    """A copy of the candidate's package on this machine."""
    return ModelRegistry(candidate.model_name).package(candidate.version)
