"""Where this folder deployed last by each stack, so that `status`, `rollback` and `down` need neither ZenML nor MLflow, whose start-up costs seconds."""

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from imageloop.atomic_files import replacing
from imageloop.workspace_paths import Workspace
from seldon.delivery.clusters.settings import ClusterSettings


class Deployed(BaseModel):
    """A cluster, and the deployment that was made on it, of a version in the registry at the address `registry`, by a stack.

    `stack_id` is None, and `stack` empty, where an earlier version of this program deployed.
    """

    model_config = ConfigDict(frozen=True)

    cluster: ClusterSettings
    namespace: str
    name: str
    registry: str | None = None
    stack: str = ""
    stack_id: str | None = None


def write_deployed(workspace: Workspace, deployed: Deployed) -> None:
    """Record a deployment as the last one of this folder, and keep what another stack deployed last."""
    last = read_last(workspace)
    if last is not None and last.stack_id not in (None, deployed.stack_id):
        _write(_of_stack(workspace, str(last.stack_id)), last)
    _write(_last(workspace), deployed)


def read_deployed(workspace: Workspace, stack_id: str | None) -> Deployed | None:
    """Return what a stack deployed last from this folder."""
    last = read_last(workspace)
    if last is None or stack_id is None or last.stack_id in (None, stack_id):
        return last
    file = _of_stack(workspace, stack_id)
    return Deployed.model_validate_json(file.read_text()) if file.exists() else None


def read_last(workspace: Workspace) -> Deployed | None:
    """Return what was deployed last from this folder, by whichever stack."""
    file = _last(workspace)
    return Deployed.model_validate_json(file.read_text()) if file.exists() else None


def _write(file: Path, deployed: Deployed) -> None:
    """Write what differs from the defaults: a version before this one may read the file after a downgrade, and refuses newer settings."""
    content = deployed.model_dump(mode="json", exclude_defaults=True)
    content["cluster"]["kind"] = deployed.cluster.kind
    with replacing(file) as aside:
        aside.write_text(json.dumps(content, indent=1))


def _last(workspace: Workspace) -> Path:
    return workspace.state / "deployed.json"


def _of_stack(workspace: Workspace, stack_id: str) -> Path:
    return workspace.state / f"deployed-{stack_id}.json"
