"""The models of a process that serves several, as a file names them: who changes the file changes what is served."""

import json
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict

from imageloop.atomic_files import replacing

FILE, STATUS_FILE = "models.json", "status.json"


class HostedModel(BaseModel):
    """A predictor of a deployment (namespace/name), on ports of its own; gRPC's is 0 where it has none.

    `parameters`: of `ImageClassifier`; `warm`: it is never unloaded; `proved`: it was loaded once, by this process or one before it.
    """

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    slot: str
    deployment: str
    predictor: str
    port: int
    grpc_port: int = 0
    parameters: dict[str, str]
    records: str
    warm: bool = False
    proved: bool = False


class HostedModels(BaseModel):
    """All models of a process. `memory_mb`: of the whole process, beyond which models are unloaded that nobody uses."""

    model_config = ConfigDict(frozen=True)

    memory_mb: int = 1024
    models: tuple[HostedModel, ...] = ()

    @classmethod
    def read(cls, folder: Path) -> Self:
        """What the folder of a process says; nothing where it has no file yet."""
        file = folder / FILE
        return cls.model_validate_json(file.read_text()) if file.exists() else cls()

    def write(self, folder: Path) -> None:
        with replacing(folder / FILE) as aside:
            aside.write_text(self.model_dump_json(indent=1))


class LoadFailure(BaseModel):
    """Why a model could not be loaded. `of_model`: by its own fault, and not for memory or a port."""

    model_config = ConfigDict(frozen=True)

    message: str
    of_model: bool


def read_failures(folder: Path) -> dict[str, LoadFailure]:
    """Why models could not be loaded, by slot, as their process wrote it."""
    file = folder / STATUS_FILE
    found = json.loads(file.read_text()) if file.exists() else {}
    return {slot: LoadFailure.model_validate(failure) for slot, failure in found.items()}


def write_failures(folder: Path, failures: dict[str, LoadFailure]) -> None:
    """Write why models cannot be loaded, for whoever added them."""
    with replacing(folder / STATUS_FILE) as aside:
        aside.write_text(json.dumps({slot: failure.model_dump() for slot, failure in failures.items()}, indent=1))
