"""What the steps from a trained model to a registered version hand to each other."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from imageloop.data.settings import DataSettings
from imageloop.promotion.settings import GateSettings
from imageloop.training.settings import TrainingSettings


class Calibration(BaseModel):
    """The temperature by which logits are divided, and the expected calibration error on the validation images without and with it.

    It is chosen by the likelihood of the labels, so that of few images the error may rise.
    """

    model_config = ConfigDict(frozen=True)

    temperature: float
    error_before: float
    error_after: float


class Registration(BaseModel):
    """A registered version and its outcome: champion, awaiting approval, refused, or superseded."""

    model_config = ConfigDict(frozen=True)

    name: str
    version: str
    outcome: Literal["champion", "awaiting approval", "refused", "superseded"]
    reason: str


class MadeWith(BaseModel):
    """The settings of a version, so that a retraining can repeat them. `gates`: None in versions of 0.1."""

    model_config = ConfigDict(frozen=True)

    data: DataSettings
    training: TrainingSettings
    gates: GateSettings | None = None


@dataclass(frozen=True)
class ModelPackage:
    """A package's folder on this machine."""

    folder: Path

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.iterdir() if path.is_file())

    def digest(self) -> str:
        """The same for the same files under the same names."""
        digest = hashlib.sha256()
        for path in self.files():
            digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()[:32]


class Candidate(BaseModel):
    """A registered version that shall serve; `uri` names its package's folder as the cluster will open it."""

    model_config = ConfigDict(frozen=True)

    model_name: str
    version: str
    uri: str
    run_id: str


class RolloutRecord(BaseModel):
    """The outcome of a rollout: promoted, withdrawn (a shadow) or unchanged; an undone one fails its run instead."""

    model_config = ConfigDict(frozen=True)

    name: str
    namespace: str
    version: str
    before: str | None
    outcome: str
    reason: str
    url: str
    exposure: float
    smoke: list[str]
    verdicts: list[str]
