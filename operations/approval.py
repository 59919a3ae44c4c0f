"""List the versions of a model, and approve one as champion."""

from dataclasses import dataclass

from imageloop.adapters.registered_version import RegisteredVersion
from imageloop.adapters.zenml_client import open_store
from imageloop.workspace_paths import Workspace

STATUS_WORDS = {"hold": "awaiting", "rollback": "refused", "advance": "former"}  # `former`: a champion before


@dataclass(frozen=True)
class Approval:
    """The new champion and the one before it, None where there was none."""

    model_name: str
    champion: str
    before: str | None


@dataclass(frozen=True)
class VersionList:
    """All versions of a model, the newest first, and the status of each in a word: champion, former, awaiting, refused or rolled back.

    `traffic`: the percentage of the traffic that versions have in the deployments of this machine; None where none is deployed here.
    `others`: where there is none, the models that have versions, for the name may be misspelt.
    """

    model_name: str
    champion: str | None
    versions: list[RegisteredVersion]
    statuses: dict[str, str]
    traffic: dict[str, int] | None
    others: list[str]


def approve(model_name: str, version: str, reason: str = "") -> Approval:
    """Make a version the champion. `reason` overrules a gate or a rollout that refused it, and is recorded.

    Raises: ImageLoopError for a version that was refused, without a reason, or was compared with an earlier champion.
    """
    open_store()
    from imageloop.lifecycle.register_and_promote import approve_version
    from imageloop.lifecycle.rollback import record_noted_rollbacks

    workspace = Workspace.current()
    record_noted_rollbacks(workspace)
    return Approval(model_name, version, approve_version(model_name, version, workspace, reason))


def versions(model_name: str) -> VersionList:
    """All versions in the registry."""
    open_store()
    return known_versions(model_name)


def known_versions(model_name: str) -> VersionList:
    """The same for a process that has opened the store."""
    from imageloop.adapters.mlflow_registry import ModelRegistry
    from operations.serving import traffic_of

    registry = ModelRegistry(model_name)
    champion, found = registry.champion(), registry.versions()
    statuses = {one.version: status_of(one, champion) for one in found}
    others = [] if found else registry.model_names()
    return VersionList(model_name, champion, found, statuses, traffic_of(model_name), others)


def status_of(version: RegisteredVersion, champion: str | None) -> str:
    """Return the status of a version in a word."""
    if version.version == champion:
        return "champion"
    if version.rolled_back and version.verdict == "rollback":
        return "rolled back"
    return STATUS_WORDS.get(version.verdict, "")
