"""What is deployed, on disk: the source from which the gateway's files can be written again at any time."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from imageloop.atomic_files import replacing
from seldon.delivery.manifest import Manifest


class Replica(BaseModel):
    """A process that serves one predictor; `process` identifies the part of the manifest it was started for. `grpc_port`: 0 for one that an
    earlier release started; `host`: the process of several models that holds it, empty where it is a process by itself.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    predictor: str
    port: int
    process: str
    grpc_port: int = 0
    host: str = ""

    @property
    def program(self) -> str:
        """The supervisor's name of its process."""
        return self.host or self.name


class DeploymentState(BaseModel):
    """A manifest, and the replicas that serve it."""

    model_config = ConfigDict(frozen=True)

    manifest: Manifest
    replicas: list[Replica]


class SiteState(BaseModel):
    """The state that all deployments of a site share; `admin_ports` has the port of metrics of each process of the gateway."""

    model_config = ConfigDict(frozen=True)

    gateway_port: int
    admin_ports: tuple[int, ...] = ()
    version: int = 0

    @model_validator(mode="before")
    @classmethod
    def _had_one_process(cls, values: Any) -> Any:
        """Up to 0.1.0 the gateway was one process."""
        if isinstance(values, dict) and "admin_port" in values:
            return {"admin_ports": (values["admin_port"],), **values}
        return values


class Store:
    """Reads and writes whole files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def deployments(self) -> list[DeploymentState]:
        return [DeploymentState.model_validate_json(file.read_text()) for file in sorted(self._folder.glob("*--*.json"))]

    def get(self, namespace: str, name: str) -> DeploymentState | None:
        file = self._file(namespace, name)
        return DeploymentState.model_validate_json(file.read_text()) if file.exists() else None

    def put(self, state: DeploymentState) -> None:
        metadata = state.manifest.metadata
        with replacing(self._file(metadata.namespace, metadata.name)) as aside:
            aside.write_text(state.model_dump_json(by_alias=True, exclude_none=True, indent=1))

    def remove(self, namespace: str, name: str) -> None:
        self._file(namespace, name).unlink(missing_ok=True)

    def site(self) -> SiteState | None:
        file = self._folder / "site.json"
        return SiteState.model_validate_json(file.read_text()) if file.exists() else None

    def put_site(self, site: SiteState) -> None:
        with replacing(self._folder / "site.json") as aside:
            aside.write_text(site.model_dump_json(indent=1))

    def remove_site(self) -> None:
        (self._folder / "site.json").unlink(missing_ok=True)

    def _file(self, namespace: str, name: str) -> Path:
        return self._folder / f"{namespace}--{name}.json"
