"""Processes that serve several models on one machine (seldon.model_server): where a predictor names a server, its replicas are places there.

A replica has ports of its own in such a process, so the gateway treats it as any other one.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from seldon.delivery.clusters.cluster_protocol import DeploymentError
from seldon.delivery.clusters.local.deployment_state import DeploymentState, Replica
from seldon.delivery.clusters.local.http_checks import get
from seldon.delivery.clusters.local.site_folders import Layout
from seldon.delivery.clusters.local.supervisor import Supervisor
from seldon.delivery.inference_graph import process_parameters
from seldon.delivery.manifest import Manifest, PredictorSpec
from seldon.delivery.model_server_settings import ServerSettings, server_of
from seldon.service.hosted_models import HostedModel, HostedModels, LoadFailure, read_failures

START_SECONDS = 60.0
PORT_FILE = "port"
Start = Callable[[str, Path, int, int], None]  # a process by its name, folder, port and the number of its kind


class ModelServers:
    """Adds predictors to processes that others share, and removes them."""

    def __init__(self, layout: Layout, supervisor: Supervisor, free_port: Callable[[], int], start: Start) -> None:
        self._layout, self._supervisor, self._free_port, self._start = layout, supervisor, free_port, start

    def hosts(self, manifest: Manifest, settings: ServerSettings, number: int, code: str) -> list[str]:
        """The names of the first `number` processes of a server, each started where it is not. `code`: the digest of what they run."""
        names = [f"{manifest.metadata.namespace}--server-{settings.name}--{one}--{code}" for one in range(number)]
        states = self._supervisor.states()
        for name in names:
            if states.get(name) in ("RUNNING", "STARTING"):
                continue
            home = self._layout.replicas / name
            home.mkdir(parents=True, exist_ok=True)
            port = self._free_port()
            (home / PORT_FILE).write_text(str(port))
            self._start(name, home, port, number)
            self._await(name, port)
        return names

    def add(self, replica: Replica, manifest: Manifest, predictor: PredictorSpec, settings: ServerSettings) -> None:
        """Let a process serve a predictor; its health check says when it does, `failure` why it does not."""
        given = {part["name"]: str(part["value"]) for part in process_parameters(predictor.graph)}
        records = self._layout.records / manifest.metadata.namespace / manifest.metadata.name
        model = HostedModel(
            slot=replica.name, deployment=manifest.key, predictor=predictor.name, port=replica.port, grpc_port=replica.grpc_port,
            parameters=given, records=str(records), warm=settings.warm,
        )  # fmt: skip
        self._change(replica.host, [*self._hosted(replica).models, model], settings.memory_mb)

    def settle(self, manifest: Manifest, replicas: Sequence[Replica]) -> None:
        """Note that replicas are ready, so that a process that starts again need not load them at once; and the newest settings."""
        for replica, settings in _shared(manifest, replicas):
            hosted = self._hosted(replica)
            models = [
                one.model_copy(update={"proved": True, "warm": settings.warm}) if one.slot == replica.name else one
                for one in hosted.models
            ]
            if models != list(hosted.models) or hosted.memory_mb != settings.memory_mb:
                self._change(replica.host, models, settings.memory_mb)

    def failure(self, replica: Replica) -> LoadFailure | None:
        """Why a process cannot load a predictor; None while that is not known."""
        return read_failures(self._layout.replicas / replica.host).get(replica.name)

    def knows(self, replica: Replica) -> bool:
        """Whether the process of a replica still serves it."""
        return any(one.slot == replica.name for one in self._hosted(replica).models)

    def retain(self, kept: Mapping[str, set[str]]) -> None:
        """Remove from each process what is not among its kept replicas."""
        for host, names in kept.items():
            hosted = HostedModels.read(self._layout.replicas / host)
            models = [one for one in hosted.models if one.slot in names]
            if len(models) < len(hosted.models):
                self._change(host, models, hosted.memory_mb)

    def remove(self, replica: Replica) -> None:
        """Take a replica that did not get ready out of its process, and end a process that was started for it alone."""
        hosted = self._hosted(replica)
        others = [one for one in hosted.models if one.slot != replica.name]
        self._change(replica.host, others, hosted.memory_mb)
        if not others:
            self._supervisor.remove(replica.host)

    def notes(self, state: DeploymentState) -> list[str]:
        """What a user should know of the processes that a deployment shares, a sentence for each replica."""
        found = []
        for replica, settings in _shared(state.manifest, state.replicas):
            warm = ", and is never unloaded" if settings.warm else ""
            port = (self._layout.replicas / replica.host / PORT_FILE).read_text()
            server = f"the server '{settings.name}' ({settings.memory_mb} MB)"
            found.append(f"'{replica.predictor}' shares a process of {server}{warm}: http://127.0.0.1:{port}/models")
        return found

    def ports(self) -> list[int]:
        """The own ports of all processes, for their metrics."""
        return [int(file.read_text()) for file in self._layout.replicas.glob(f"*/{PORT_FILE}")]

    def _hosted(self, replica: Replica) -> HostedModels:
        return HostedModels.read(self._layout.replicas / replica.host)

    def _change(self, host: str, models: Sequence[HostedModel], memory_mb: int) -> None:
        HostedModels(memory_mb=memory_mb, models=tuple(models)).write(self._layout.replicas / host)

    def _await(self, name: str, port: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        while get(port, "/health/status") is None:
            if time.monotonic() > deadline or self._supervisor.states().get(name) in ("FATAL", "EXITED", "BACKOFF"):
                raise DeploymentError(f"expected the server '{name}' to start, but it did not; its log is in {self._layout.logs}")
            time.sleep(0.05)


def _shared(manifest: Manifest, replicas: Sequence[Replica]) -> Iterator[tuple[Replica, ServerSettings]]:
    """Those of the replicas that share a process, with the settings of their server."""
    for replica in replicas:
        predictor = manifest.predictor(replica.predictor)
        if replica.host and predictor is not None and (settings := server_of(predictor)) is not None:
            yield replica, settings
