"""The replicas of one machine: processes of the serving environment that the supervisor keeps alive."""

import hashlib
import json
import logging
import os
import shutil
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from pathlib import Path

from imageloop.code_fingerprint import source_fingerprint
from imageloop.usable_cores import usable_cores
from imageloop.workspace_paths import PROJECT
from seldon.delivery.clusters.cluster_protocol import DeploymentError, PredictorStatus, ReplicaEndedError, ReplicaStatus
from seldon.delivery.clusters.local import envoy_config
from seldon.delivery.clusters.local.deployment_state import DeploymentState, Replica, Store
from seldon.delivery.clusters.local.site_folders import SITE_VARIABLE, Layout, free_port
from seldon.delivery.clusters.local.supervisor import Supervisor
from seldon.delivery.inference_graph import process_parameters
from seldon.delivery.manifest import Manifest, PredictorSpec, bounds_of

logger = logging.getLogger(__name__)
READY_SECONDS = 60.0
HANGS_SECONDS = 10.0
MAX_LOGS = 20  # of replicas that are gone
DEFAULT_HEALTH_PATH = "/health/status"
SERVED_CODE = (  # as the Dockerfile copies it
    "imageloop/data", "imageloop/embeddings", "imageloop/model", "imageloop/records",
    "seldon/service", "seldon/launcher.py", "seldon/microservice.py",
)  # fmt: skip


class Replicas:
    """Starts, finds and stops replicas. Each gets `environment`; the manifest overrides it."""

    def __init__(
        self, layout: Layout, store: Store, supervisor: Supervisor, python: Path, environment: Mapping[str, str] | None
    ) -> None:
        self._layout, self._store, self._supervisor = layout, store, supervisor
        self._python = python
        self._environment = dict(environment or {})
        self._reserved_ports: set[int] = set()

    def restart_others(self, manifest: Manifest) -> None:
        """Start the replicas of the site's other deployments that a killed supervisor had kept; one that fails is logged."""
        states = self._supervisor.states()
        for state in self._store.deployments():
            if state.manifest.key != manifest.key and any(replica.name not in states for replica in state.replicas):
                try:
                    kept, started = self.start_missing(state.manifest, state.replicas)
                except DeploymentError as error:
                    logger.warning("'%s' could not be started again: %s", state.manifest.key, error)
                    continue
                self._store.put(DeploymentState(manifest=state.manifest, replicas=kept + started))

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
                    and states.get(replica.name) in ("RUNNING", "STARTING")
                    and self._responds(replica, health_path(manifest, predictor.name))
                ][: predictor.replicas]
                kept += fitting
                started += [self._start(manifest, predictor) for _ in range(predictor.replicas - len(fitting))]
            for replica in kept + started:
                self._wait_for(replica, health_path(manifest, replica.predictor))
        except BaseException:
            for replica in started:
                self._supervisor.remove(replica.name)
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

    def _start(self, manifest: Manifest, predictor: PredictorSpec) -> Replica:
        name = f"{manifest.metadata.namespace}--{manifest.metadata.name}--{predictor.name}--{uuid.uuid4().hex[:6]}"
        ports = {"port": self._free_port(), "grpc_port": self._free_port()}
        replica = Replica(name=name, predictor=predictor.name, process=process_digest(predictor), **ports)
        home = self._layout.replicas / name
        home.mkdir(parents=True, exist_ok=True)
        most = (bounds_of(predictor) or (0, predictor.replicas))[1]
        environment = {
            "GUNICORN_WORKERS": "1",
            "IMAGELOOP_COMPUTE_THREADS": str(max(1, usable_cores() // most)),
            **self._environment,
            **{variable.name: variable.value or "" for variable in (predictor.container.env if predictor.container else ())},
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home),
            "PROMETHEUS_MULTIPROC_DIR": str(home / "metrics"),
            "PYTHONPATH": str(PROJECT),
            "PREDICTIVE_UNIT_HTTP_SERVICE_PORT": str(replica.port),
            "PREDICTIVE_UNIT_GRPC_SERVICE_PORT": str(replica.grpc_port),
            "PREDICTIVE_UNIT_PARAMETERS": json.dumps(process_parameters(predictor.graph)),
            "PREDICTIVE_UNIT_ID": predictor.graph.name,
            "PREDICTOR_ID": predictor.name,
            "SELDON_DEPLOYMENT_ID": manifest.metadata.name,
            "IMAGELOOP_RECORDS": str(self._layout.records / manifest.metadata.namespace / manifest.metadata.name),
            "IMAGELOOP_MONITOR_STATUS": str(self._layout.folder / "monitor_status.json"),
            SITE_VARIABLE: str(self._layout.folder),
        }
        self._supervisor.add(name, [str(self._python), "-m", "seldon.launcher"], environment)
        return replica

    def _wait_for(self, replica: Replica, path: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while get(replica.port, path) is None:
            state = self._supervisor.states().get(replica.name)
            ended = state in ("BACKOFF", "FATAL", "EXITED")
            if ended or time.monotonic() > deadline:
                reason = f"a replica of '{replica.predictor}' did not get ready ({state}): {self._last_message(replica.name)}"
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
        kept = {replica.name for state in self._store.deployments() for replica in state.replicas} | set(envoy_config.NAMES)
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
                restarts=max(0, self._supervisor.starts(replica.name) - 1),
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


def process_digest(predictor: PredictorSpec) -> str:
    """Hash what a replica runs: its part of the manifest, the code, and the lock of the packages, which are its image here."""
    places = [*sorted((PROJECT / "imageloop").glob("*.py")), *(PROJECT / place for place in SERVED_CODE)]
    code = source_fingerprint(*places) + (PROJECT / "requirements" / "serving.txt").read_text()
    return hashlib.sha256(f"{predictor.process()} {code}".encode()).hexdigest()[:16]


def _modified(file: Path) -> float:
    return file.stat().st_mtime if file.exists() else 0.0


def health_path(manifest: Manifest, name: str) -> str:
    """Return the path of a predictor's readiness check."""
    predictor = manifest.predictor(name)
    container = predictor.container if predictor else None
    probe = container.readiness_probe if container else None
    return probe.http_get.path if probe and probe.http_get else DEFAULT_HEALTH_PATH


def get(port: int, path: str) -> str | None:
    """The text at a replica's path, None where it does not respond with success."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as response:
            return str(response.read().decode())
    except (OSError, urllib.error.URLError, ValueError):
        return None


def serving_python() -> Path:
    """The Python of the serving environment, which shares no process with this one.

    Raises: DeploymentError where `make setup` has not made it.
    """
    python = Path(os.environ.get("IMAGELOOP_SERVING_PYTHON") or PROJECT / ".venv-serving" / "bin" / "python")
    if not python.exists():
        raise DeploymentError(f"expected the serving environment, got no '{python}'; run: make setup")
    return python
