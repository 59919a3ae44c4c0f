"""What every place that serves can do, with one manifest."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from imageloop.errors import ImageLoopError
from imageloop.records.record_reader import Record
from seldon.delivery.manifest import Manifest, PredictorSpec


class DeploymentError(ImageLoopError):
    """A deployment that could not be made what its manifest says; what served before serves on."""


class NotBegunError(DeploymentError):
    """A change that a cluster refused before anything of it was done: there is nothing to undo."""


class UnfitVersionError(ImageLoopError):
    """What speaks against a version itself, and not against the place that should serve it."""


class ReplicaEndedError(DeploymentError, UnfitVersionError):
    """A replica of `predictor` that ended by itself."""

    def __init__(self, predictor: str, told: str) -> None:
        super().__init__(told)
        self.predictor = predictor


@dataclass(frozen=True)
class ReplicaStatus:
    """One process, or pod, of a predictor."""

    name: str
    ready: bool
    restarts: int
    address: str


@dataclass(frozen=True)
class PredictorStatus:
    name: str
    version: str
    traffic: int
    shadow: bool
    wanted_replicas: int
    replicas: list[ReplicaStatus]

    @property
    def ready_replicas(self) -> int:
        return sum(replica.ready for replica in self.replicas)


@dataclass(frozen=True)
class DeploymentStatus:
    """`state` is the CRD's: Available, Creating or Failed."""

    name: str
    namespace: str
    state: str
    url: str
    predictors: list[PredictorStatus]
    notes: list[str] = field(default_factory=list)
    description: str = ""


@dataclass(frozen=True)
class Caller:
    """An address, and the headers that lead there; `certificate`: a file that the place answers with, whatever name it is for."""

    url: str
    headers: dict[str, str]
    certificate: str | None = None


class Tail(Protocol):
    """Records as they come."""

    def read(self) -> list[Record]:
        """What came since the last call."""
        raise NotImplementedError


class Cluster(Protocol):
    """A place that serves. Every method may raise DeploymentError."""

    def complete(self, predictor: PredictorSpec) -> PredictorSpec:
        """With what the place itself asks of it, before it is compared with anything or applied."""
        raise NotImplementedError

    def apply(self, manifest: Manifest) -> None:
        """Make it so: new replicas are ready before they get traffic, old ones finish their work before they go."""
        raise NotImplementedError

    def get(self, namespace: str, name: str) -> Manifest | None:
        """The manifest as it was applied last."""
        raise NotImplementedError

    def delete(self, namespace: str, name: str) -> None:
        raise NotImplementedError

    def describe(self, namespace: str, name: str) -> DeploymentStatus | None:
        raise NotImplementedError

    def belonging_to(self, namespace: str, name: str) -> list[Manifest]:
        """All that who deployed this one may stop: everything on this machine; on a cluster, where others deploy too, this one alone."""
        raise NotImplementedError

    def changing(self, namespace: str, name: str) -> AbstractContextManager[None]:
        """Nobody else changes this deployment within the block; raises DeploymentError where somebody does."""
        raise NotImplementedError

    def caller(self, namespace: str, name: str, predictor: str) -> "Caller":
        """How to reach one predictor whatever its weight."""
        raise NotImplementedError

    def records(self, namespace: str, name: str) -> Path | None:
        """The folder that holds the records of a deployment, where this machine has it."""
        raise NotImplementedError

    def tail(self, namespace: str, name: str, model_name: str) -> Tail | None:
        """The records of a deployment from now on, where they can be had while they are made."""
        raise NotImplementedError

    def exposition(self, namespace: str, name: str, predictor: str) -> dict[str, str]:
        """What each ready replica of a predictor tells Prometheus, by its name."""
        raise NotImplementedError
