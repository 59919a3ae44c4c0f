"""The replicas of one machine: processes of the serving environment that the supervisor keeps alive."""

import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

from imageloop.usable_cores import usable_cores
from imageloop.workspace_paths import PROJECT
from seldon.delivery.clusters.cluster_protocol import DeploymentError, PredictorStatus, ReplicaEndedError, ReplicaStatus
from seldon.delivery.clusters.local import envoy_config
from seldon.delivery.clusters.local.deployment_state import DeploymentState, Replica, Store
from seldon.delivery.clusters.local.http_checks import get
from seldon.delivery.clusters.local.model_servers import ModelServers
from seldon.delivery.clusters.local.process_digests import code_digest, process_digest
from seldon.delivery.clusters.local.site_folders import SITE_VARIABLE, Layout, free_port
from seldon.delivery.clusters.local.supervisor import Supervisor
from seldon.delivery.inference_graph import process_parameters
from seldon.delivery.manifest import Manifest, PredictorSpec, bounds_of
from seldon.delivery.model_server_settings import server_of

logger = logging.getLogger(__name__)
READY_SECONDS = 60.0
HANGS_SECONDS = 10.0
MAX_LOGS = 20  # of replicas that are gone
DEFAULT_HEALTH_PATH = "/health/status"


class Replicas:
    """Starts, finds and stops replicas. Each gets `environment`; the manifest overrides it."""

    def __init__(
        self, layout: Layout, store: Store, supervisor: Supervisor, python: Path, environment: Mapping[str, str] | None
    ) -> None:
        self._layout, self._store, self._supervisor = layout, store, supervisor
        self._python = python
        self._environment = dict(environment or {})
        self._reserved_ports: set[int] = set()
        self.servers = ModelServers(layout, supervisor, self._free_port, self._start_server)

    def restart_others(self, manifest: Manifest) -> None:
        """Start the replicas of the site's other deployments that a killed supervisor had kept; one that fails is logged."""
        states = self._supervisor.states()
        for state in self._store.deployments():
            if state.manifest.key != manifest.key and any(replica.program not in states for replica in state.replicas):
                try:
                    kept, started = self.start_missing(state.manifest, state.replicas)
                except DeploymentError as error:
                    logger.warning("'%s' could not be started again: %s", state.manifest.key, error)
                    continue
                self._store.put(DeploymentState(manifest=state.manifest, replicas=kept + started))
                logger.info("'%s' was started again too", state.manifest.key)

    def start_missing(self, manifest: Manifest, have: list[Replica]) -> tuple[list[Replica], list[Replica]]:
        """The replicas that fit already, and new ones that are ready; if one does not get ready, all new ones are removed."""
        states = self._supervisor.states()
        kept: list[Replica] = []
        started: list[Replica] = []
        try:
            for predictor in manifest.spec.predictors:
                fitting = [
                    replica
                    for replica in have
                    if replica.predictor == predictor.name
                    and replica.process == process_digest(predictor)
                    and states.get(replica.program) in ("RUNNING", "STARTING")
                    and (not replica.host or self.servers.knows(replica))
                    and self._responds(replica, health_path(manifest, predictor.name))
                ][: predictor.replicas]
                kept += fitting
                for _ in range(predictor.replicas - len(fitting)):
                    started.append(
                        self._start(manifest, predictor, {one.host for one in kept + started if one.predictor == predictor.name})
                    )
            for replica in kept + started:
                self._wait_for(replica, health_path(manifest, replica.predictor))
            self.servers.settle(manifest, kept + started)
        except BaseException:
            for replica in started:
                self.servers.remove(replica) if replica.host else self._supervisor.remove(replica.name)
            raise
        return kept, started

    @staticmethod
    def _responds(replica: Replica, path: str) -> bool:
        """A replica that was just started takes a while; one that hangs never responds, and must be replaced."""
        deadline = time.monotonic() + HANGS_SECONDS
        while get(replica.port, path) is None:
            if time.monotonic() > deadline:
                logger.warning("the replica '%s' does not respond; another one replaces it", replica.name)
                return False
            time.sleep(0.2)
        return True

    def _free_port(self) -> int:
        """A port that neither a process nor a replica that is about to start has."""
        replicas = [replica for state in self._store.deployments() for replica in state.replicas]
        taken = {port for replica in replicas for port in (replica.port, replica.grpc_port)} | self._reserved_ports
        port = next(port for port in iter(free_port, None) if port not in taken)
        self._reserved_ports.add(port)
        return port

    def _start(self, manifest: Manifest, predictor: PredictorSpec, hosts: set[str]) -> Replica:
        """Start a replica; where it is one in a process of several models, in another one than `hosts`."""
        name = f"{manifest.metadata.namespace}--{manifest.metadata.name}--{predictor.name}--{uuid.uuid4().hex[:6]}"
        ports = {"port": self._free_port(), "grpc_port": self._free_port()}
        replica = Replica(name=name, predictor=predictor.name, process=process_digest(predictor), **ports)
        if (server := server_of(predictor)) is not None:
            names = self.servers.hosts(manifest, server, predictor.replicas, code_digest()[:8])
            replica = replica.model_copy(update={"host": next(one for one in names if one not in hosts)})
            self.servers.add(replica, manifest, predictor, server)
            return replica
        home = self._layout.replicas / name
        home.mkdir(parents=True, exist_ok=True)
        most = (bounds_of(predictor) or (0, predictor.replicas))[1]
        given = {variable.name: variable.value or "" for variable in (predictor.container.env if predictor.container else ())}
        environment = self._environment_of(home, replica.port, most, given) | {
            "PREDICTIVE_UNIT_GRPC_SERVICE_PORT": str(replica.grpc_port),
            "PREDICTIVE_UNIT_PARAMETERS": json.dumps(process_parameters(predictor.graph)),
            "PREDICTIVE_UNIT_ID": predictor.graph.name,
            "PREDICTOR_ID": predictor.name,
            "SELDON_DEPLOYMENT_ID": manifest.metadata.name,
            "IMAGELOOP_RECORDS": str(self._layout.records / manifest.metadata.namespace / manifest.metadata.name),
        }
        self._supervisor.add(name, [str(self._python), "-m", "seldon.launcher"], environment)
        return replica

    def _start_server(self, name: str, home: Path, port: int, number: int) -> None:
        """Start a process of several models, one of `number` alike."""
        environment = self._environment_of(home, port, number, {})
        self._supervisor.add(name, [str(self._python), "-m", "seldon.model_server", str(home)], environment)

    def _environment_of(self, home: Path, port: int, number: int, given: Mapping[str, str]) -> dict[str, str]:
        """The environment of a process with a folder of its own, one of `number` that share the cores. `given`: by the manifest."""
        return {
            "GUNICORN_WORKERS": "1",
            "IMAGELOOP_COMPUTE_THREADS": str(max(1, usable_cores() // number)),
            **self._environment,
            **given,
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home),
            "PROMETHEUS_MULTIPROC_DIR": str(home / "metrics"),
            "PYTHONPATH": str(PROJECT),
            "PREDICTIVE_UNIT_HTTP_SERVICE_PORT": str(port),
            "IMAGELOOP_MONITOR_STATUS": str(self._layout.folder / "monitor_status.json"),
            SITE_VARIABLE: str(self._layout.folder),
        }

    def _wait_for(self, replica: Replica, path: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while get(replica.port, path) is None:
            state = self._supervisor.states().get(replica.program)
            failure = self.servers.failure(replica) if replica.host else None
            if failure is not None:
                message = f"'{replica.predictor}' cannot be loaded: {failure.message}"
                raise ReplicaEndedError(replica.predictor, message) if failure.of_model else DeploymentError(message)
            ended = state in ("BACKOFF", "FATAL", "EXITED")
            if ended or time.monotonic() > deadline:
                reason = f"a replica of '{replica.predictor}' did not get ready ({state}): {self._last_message(replica.program)}"
                raise ReplicaEndedError(replica.predictor, reason) if ended else DeploymentError(reason)
            time.sleep(0.05)

    def _last_message(self, program: str) -> str:
        log = self._layout.logs / f"{program}.log"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        for line in reversed(lines):
            try:
                return str(json.loads(line)["message"])
            except (ValueError, KeyError, TypeError):
                continue
        return lines[-1] if lines else "it logged nothing"

    def retire(self) -> None:
        """End the processes that no deployment has any more, once they have finished their requests."""
        replicas = [replica for state in self._store.deployments() for replica in state.replicas]
        kept = {replica.program for replica in replicas} | set(envoy_config.NAMES)
        hosts = {replica.host for replica in replicas if replica.host}
        self.servers.retain({host: {replica.name for replica in replicas if replica.host == host} for host in hosts})
        surplus = [name for name in self._supervisor.states() if name not in kept]
        time.sleep(0.2 if surplus else 0)  # a request that the gateway had routed already reaches its replica
        for name in surplus:
            self._supervisor.remove(name)
        self._supervisor.end_orphans()
        for folder in self._layout.replicas.glob("*"):
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)
        logs = [log for log in self._layout.logs.glob("*--*.log*") if log.name.partition(".log")[0] not in kept]
        for log in sorted(logs, key=_modified)[:-MAX_LOGS]:
            log.unlink(missing_ok=True)

    def status(self, predictor: PredictorSpec, state: DeploymentState) -> PredictorStatus:
        """Return which replicas of a predictor exist, and which are ready."""
        path = health_path(state.manifest, predictor.name)
        replicas = [
            ReplicaStatus(
                name=replica.name,
                ready=get(replica.port, path) is not None,
                restarts=max(0, self._supervisor.starts(replica.program) - 1),
                address=f"http://127.0.0.1:{replica.port}",
            )
            for replica in state.replicas
            if replica.predictor == predictor.name
        ]
        return PredictorStatus(
            name=predictor.name,
            version=predictor.version,
            traffic=state.manifest.weights.get(predictor.name, 0),
            shadow=predictor.shadow,
            expected_replicas=predictor.replicas,
            replicas=replicas,
        )


def _modified(file: Path) -> float:
    return file.stat().st_mtime if file.exists() else 0.0


def health_path(manifest: Manifest, name: str) -> str:
    """Return the path of a predictor's readiness check."""
    predictor = manifest.predictor(name)
    container = predictor.container if predictor else None
    probe = container.readiness_probe if container else None
    return probe.http_get.path if probe and probe.http_get else DEFAULT_HEALTH_PATH


def serving_python() -> Path:
    """The Python of the serving environment, which shares no process with this one.

    Raises: DeploymentError where `make setup` has not made it.
    """
    python = Path(os.environ.get("IMAGELOOP_SERVING_PYTHON") or PROJECT / ".venv-serving" / "bin" / "python")
    if not python.exists():
        raise DeploymentError(f"expected the serving environment, got no '{python}'; run: make setup")
    return python
