"""Where this folder deployed last, so that `status`, `rollback` and `down` need neither ZenML nor MLflow, whose start-up costs seconds."""

from pydantic import BaseModel, ConfigDict

from imageloop.atomic_files import replacing
from imageloop.workspace_paths import Workspace
from seldon.delivery.clusters.settings import ClusterSettings


class Deployed(BaseModel):
    """A cluster, and the deployment that was made on it, of a version in the registry at the address `registry`."""

    model_config = ConfigDict(frozen=True)

    cluster: ClusterSettings
    namespace: str
    name: str
    registry: str | None = None


def write_deployed(workspace: Workspace, deployed: Deployed) -> None:
    with replacing(workspace.state / "deployed.json") as aside:
        aside.write_text(deployed.model_dump_json(indent=1))


def read_deployed(workspace: Workspace) -> Deployed | None:
    file = workspace.state / "deployed.json"
    return Deployed.model_validate_json(file.read_text()) if file.exists() else None
