"""The protocol that every cluster implements: it makes deployments what one manifest says."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from imageloop.errors import ImageLoopError
from imageloop.records.record_reader import Record
from seldon.delivery.manifest import Manifest, PredictorSpec


class DeploymentError(ImageLoopError):
    """The deployment could not be made what its manifest says; the previous version keeps serving."""


class NotBegunError(DeploymentError):
    """A change that a cluster refused before anything of it was done: there is nothing to undo."""


class RolloutUnderWayError(DeploymentError):
    """A change of a deployment that another process is changing."""


class NoEvidenceError(DeploymentError):
    """A rollout that ended without enough predictions: nothing was proved against the version, which keeps its title."""


class UnfitVersionError(ImageLoopError):
    """The version itself is at fault, and not the cluster that should serve it."""


class ReplicaEndedError(DeploymentError, UnfitVersionError):
    """A replica of `predictor` that ended by itself."""

    def __init__(self, predictor: str, message: str) -> None:
        super().__init__(message)
        self.predictor = predictor


@dataclass(frozen=True)
class ReplicaStatus:
    """The state of one process, or pod, of a predictor."""

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
    expected_replicas: int
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
    """An address, and the headers that lead there; `certificate`: the certificate that the gateway presents, whatever name it is for."""

    url: str
    headers: dict[str, str]
    certificate: str | None = None


class Tail(Protocol):
    """A stream of prediction and feedback records."""

    def read(self) -> list[Record]:
        """Return the records that arrived since the last call."""
        raise NotImplementedError


class Cluster(Protocol):
    """A cluster that serves deployments. Every method may raise DeploymentError."""

    def complete(self, predictor: PredictorSpec, deployment: str = "") -> PredictorSpec:
        """Return the manifest with what this cluster adds to it, before it is compared or applied. `deployment`: its namespace/name."""
        raise NotImplementedError

    def apply(self, manifest: Manifest) -> None:
        """Make it so: new replicas are ready before they get traffic, old ones finish their work before they go."""
        raise NotImplementedError

    def repair(self) -> list[str]:
        """Start again what was deployed and does not serve; nothing where the cluster does so itself, or someone is changing it.

        Returns: the deployments that were started again, each as namespace/name and what was wrong.
        """
        raise NotImplementedError

    def get(self, namespace: str, name: str) -> Manifest | None:
        """The manifest as it was applied last."""
        raise NotImplementedError

    def delete(self, namespace: str, name: str) -> None:
        raise NotImplementedError

    def stop(self, manifests: Sequence[Manifest] = (), *, keep: bool = False) -> None:
        """Stop serving: everything on this machine, on a Kubernetes cluster the given deployments.

        `keep`: the deployment and its previous version can be resumed. Raises: SettingsError where the cluster cannot keep it.
        """
        raise NotImplementedError

    def metrics_addresses(self) -> list[str]:
        """List the addresses where Prometheus can read metrics on this machine."""
        raise NotImplementedError

    def describe(self, namespace: str, name: str) -> DeploymentStatus | None:
        raise NotImplementedError

    def belonging_to(self, namespace: str, name: str) -> list[Manifest]:
        """All that who deployed this one may stop: everything on this machine; on a cluster, where others deploy too, this one alone."""
        raise NotImplementedError

    def changing(self, namespace: str, name: str) -> AbstractContextManager[None]:
        """Hold the lock of this deployment within the block; raises DeploymentError where another process holds it."""
        raise NotImplementedError

    def is_changing(self, namespace: str, name: str) -> bool:
        """Whether a process holds the lock of this deployment now."""
        raise NotImplementedError

    def caller(self, namespace: str, name: str, predictor: str) -> "Caller":
        """Return how to reach one predictor whatever its weight."""
        raise NotImplementedError

    def records(self, namespace: str, name: str) -> Path | None:
        """The folder that holds the records of a deployment, where this machine has it."""
        raise NotImplementedError

    def tail(self, namespace: str, name: str, model_name: str) -> Tail | None:
        """The records of a deployment from now on, where they can be had while they are made."""
        raise NotImplementedError

    def exposition(self, namespace: str, name: str, predictor: str) -> dict[str, str]:
        """Return the Prometheus exposition of each ready replica of a predictor, by replica name."""
        raise NotImplementedError
