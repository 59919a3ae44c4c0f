"""A SeldonDeployment on one machine: supervisord keeps its processes, Envoy is its gateway.

The order of every change: new replicas start and are ready; what is deployed is written down; the gateway takes it; old replicas
finish their work and go. Whatever ends a change in the middle, what is written down is whole, and the next change starts from it.
"""

import hashlib
import json
import logging
import os
import shutil
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from imageloop.atomic_files import own_secret
from imageloop.code_fingerprint import source_fingerprint
from imageloop.records.record_reader import RecordTail
from imageloop.workspace_paths import PROJECT
from seldon.delivery.clusters.cluster_protocol import (
    Caller,
    DeploymentError,
    DeploymentStatus,
    NotBegunError,
    PredictorStatus,
    ReplicaEndedError,
    ReplicaStatus,
)
from seldon.delivery.clusters.local import envoy_config
from seldon.delivery.clusters.local.deployment_state import DeploymentState, Replica, SiteState, Store
from seldon.delivery.clusters.local.envoy_admin import Envoy
from seldon.delivery.clusters.local.gateway_settings import KEYS_VARIABLE, SITE, ApiKey, GatewaySettings, in_url, read_keys
from seldon.delivery.clusters.local.site_folders import SITE_VARIABLE, Layout, free_port
from seldon.delivery.clusters.local.supervisor import Supervisor, find_program
from seldon.delivery.clusters.local.unsupported_fields import named_here, refuse_impossible
from seldon.delivery.manifest import Manifest, PredictorSpec

logger = logging.getLogger(__name__)
READY_SECONDS = GATEWAY_SECONDS = 60.0
SERVED_CODE = (  # as the Dockerfile copies it
    "imageloop/data", "imageloop/embeddings", "imageloop/model", "imageloop/records",
    "seldon/service", "seldon/launcher.py", "seldon/microservice.py",
)  # fmt: skip
HANGS_SECONDS = 10.0
KEPT_LOGS = 20  # of replicas that are gone
DRAIN_SECONDS = 5  # in which callers of a gateway that goes come to its successor
DEFAULT_HEALTH_PATH = "/health/status"


class LocalCluster:
    """`environment` is given to every replica, below what the manifest says."""

    def __init__(
        self, folder: Path, settings: GatewaySettings, python: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._layout = Layout(folder.resolve())
        self._settings = settings
        self._python = python
        self._environment = dict(environment or {})
        self._store = Store(self._layout.deployments)
        self._supervisor = Supervisor(self._layout)
        self._given_out: set[int] = set()

    def complete(self, predictor: PredictorSpec) -> PredictorSpec:
        """A process needs nothing more."""
        return predictor

    def apply(self, manifest: Manifest) -> None:
        """Raises: DeploymentError; what served before serves on."""
        refuse_impossible(manifest)
        with self._site():
            draining = self._ensure_running()
            self._bring_back_others(manifest)
            before = self._store.get(manifest.metadata.namespace, manifest.metadata.name)
            kept, started = self._start_missing(manifest, before.replicas if before else [])
            self._store.put(DeploymentState(manifest=manifest, replicas=kept + started))
            try:
                self._route(manifest.key)
            except DeploymentError:
                self._go_back(manifest, before)
                raise
            time.sleep(max(0.0, draining - time.monotonic()))
            self._retire()

    def get(self, namespace: str, name: str) -> Manifest | None:
        state = self._store.get(namespace, name)
        return state.manifest if state else None

    def belonging_to(self, _namespace: str, _name: str) -> list[Manifest]:
        return [state.manifest for state in self._store.deployments()]

    def delete(self, namespace: str, name: str) -> None:
        """The last one takes the gateway and the supervisor with it."""
        with self._site():
            if len(self._store.deployments()) > 1:
                self._keys()  # of the gateway that stays: asked for before anything is gone
            self._forget(namespace, name)

    def _forget(self, namespace: str, name: str) -> None:
        self._store.remove(namespace, name)
        if not self._store.deployments():
            self._end()
        elif self._supervisor.is_running():
            self._route(None)
            self._retire()

    def stop(self, *, keep: bool = False) -> None:
        """Stop everything and leave nothing running; what was deployed is forgotten, or kept as it is after a reboot: the next change brings it back."""
        with self._site():
            if not keep:
                for state in self._store.deployments():
                    self._store.remove(state.manifest.metadata.namespace, state.manifest.metadata.name)
            if self._supervisor.is_running():
                for name in self._supervisor.states().keys() - set(envoy_config.NAMES):
                    self._supervisor.remove(name)  # each may finish what it is at
            if keep:
                self._supervisor.stop()
            else:
                self._end()

    def _end(self) -> None:
        """Of a site without a deployment."""
        self._supervisor.stop()
        self._store.remove_site()
        self._layout.own_key.unlink(missing_ok=True)

    def describe(self, namespace: str, name: str) -> DeploymentStatus | None:
        state = self._store.get(namespace, name)
        site = self._store.site()
        if state is None or site is None:
            return None
        manifest = state.manifest
        predictors = [self._describe(predictor, state) for predictor in manifest.spec.predictors]
        troubles = self._troubles(predictors, site)
        return DeploymentStatus(
            name=name,
            namespace=namespace,
            state="Failed" if troubles else "Available",
            url=self._url(manifest, site),
            predictors=predictors,
            notes=named_here(manifest),
            description="; ".join(troubles),
        )

    @contextmanager
    def changing(self, namespace: str, name: str) -> Iterator[None]:
        """The lock goes with the process that holds it, however that ends."""
        self._layout.locks.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._layout.locks / f"{namespace}--{name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise DeploymentError(
                f"wanted to change '{namespace}/{name}', found another rollout at work on it; wait for it to end"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def exposition(self, namespace: str, name: str, predictor: str) -> dict[str, str]:
        state = self._store.get(namespace, name)
        replicas = [replica for replica in state.replicas if replica.predictor == predictor] if state else []
        found = {replica.name: _get(replica.port, "/metrics") for replica in replicas}
        return {name: text for name, text in found.items() if text is not None}

    def metrics_addresses(self) -> list[str]:
        """Where Prometheus scrapes: each replica, and the gateway."""
        site = self._store.site()
        ports = [replica.port for state in self._store.deployments() for replica in state.replicas]
        addresses = [f"http://127.0.0.1:{port}/metrics" for port in ports]
        return addresses + [f"http://127.0.0.1:{port}/stats/prometheus" for port in (site.admin_ports if site else ())]

    def logs(self) -> Path:
        return self._layout.logs

    def records(self, namespace: str, name: str) -> Path:
        """Where the services of a deployment write what they answered and what they learnt."""
        return self._layout.records / namespace / name

    def tail(self, namespace: str, name: str, model_name: str) -> RecordTail:
        """Of the services' own files."""
        return RecordTail(self.records(namespace, name), from_now=True)

    def caller(self, namespace: str, name: str, predictor: str) -> Caller:
        """Through the gateway, by the header that chooses a predictor."""
        state, site = self._store.get(namespace, name), self._store.site()
        if state is None or site is None:
            raise DeploymentError(f"wanted to call '{namespace}/{name}', found no such deployment")
        headers = {envoy_config.PREDICTOR_HEADER: predictor}
        key = {"X-API-Key": self._own_key().key} if self._layout.own_key.exists() else {}
        here = "127.0.0.1" if self._settings.host == "0.0.0.0" else self._settings.host  # noqa: S104 # nosec B104 - compared, not bound
        return Caller(self._url(state.manifest, site, here), headers | key, self._settings.tls_certificate)

    def _keys(self) -> list[ApiKey]:
        """Who may come in: those that the environment names, and where there are any, this site itself: it has a key then.

        Raises: NotBegunError where it names none and the gateway has some.
        """
        keys = read_keys()
        if not keys and self._store.site() is not None and self._layout.own_key.exists():
            raise NotBegunError(
                f"wanted the keys of the gateway's callers in {KEYS_VARIABLE}, found none in this shell, and the gateway would let anyone in; "
                "export them, or stop what serves first: python run.py down"
            )
        return [*keys, self._own_key()] if keys else []

    def _own_key(self) -> ApiKey:
        return ApiKey(name=SITE, rights=("predict", "try"), key=own_secret(self._layout.own_key))

    @contextmanager
    def _site(self) -> Iterator[None]:
        """One change of the site at a time."""
        self._layout.locks.mkdir(parents=True, exist_ok=True)
        with FileLock(self._layout.locks / "site.lock"):
            yield

    def _ensure_running(self) -> float:
        """A supervisor and a gateway, also after a reboot or a kill; until when (monotonic) a gateway of before drains.

        What a killed supervisor left serves on until its successors are ready: the gateways listen at one port.
        """
        keys = self._keys()
        self._settings.check(keys)
        before = site = self._store.site()
        running = self._supervisor.is_running()
        shares_port = running or any(map(_is_envoy, self._supervisor.orphans()))
        if site is None or not running or len(site.admin_ports) != len(envoy_config.NAMES):
            site = self._new_site(site, shares_port=shares_port)
            self._store.put_site(site)
        elif self._settings.port not in (0, site.gateway_port) and free_port(self._settings.port) == self._settings.port:
            logger.warning(
                "the gateway stays at port %d, which callers know, and goes to %d after: python run.py down",
                site.gateway_port,
                self._settings.port,
            )
        folder = self._layout.gateway
        envoy_config.write_listener(folder, site.gateway_port, self._settings, keys)
        envoy_config.write_upstreams(folder, self._upstreams(), str(site.version))
        envoy_config.write_routes(folder, self._upstreams(), self._settings, keys, str(site.version))
        self._supervisor.start()
        for name, port in zip(envoy_config.NAMES, site.admin_ports, strict=True):
            self._supervisor.add(
                name, _envoy_command(envoy_config.write_bootstrap(folder, name, port)), {SITE_VARIABLE: str(self._layout.folder)}
            )
        for envoy in _envoys(site):
            envoy.wait_until_live(GATEWAY_SECONDS)
        left = _envoys(before) if before is not None and before is not site and shares_port else []
        drains = [envoy.drain() for envoy in left]
        return time.monotonic() + DRAIN_SECONDS + 1 if any(drains) else 0.0

    def _new_site(self, before: SiteState | None, *, shares_port: bool) -> SiteState:
        known = before.gateway_port if before else self._settings.port
        port = known if before and shares_port else free_port(known)
        if known not in (0, port):
            logger.warning("port %d is taken; the gateway listens at %d", known, port)
        admin_ports = tuple(free_port() for _ in envoy_config.NAMES)
        return SiteState(gateway_port=port, admin_ports=admin_ports, version=before.version if before else 0)

    def _bring_back_others(self, manifest: Manifest) -> None:
        """The replicas of the site's other deployments, where a supervisor that was killed had kept them; what cannot be is no reason to stop."""
        states = self._supervisor.states()
        for state in self._store.deployments():
            if state.manifest.key != manifest.key and any(replica.name not in states for replica in state.replicas):
                try:
                    kept, started = self._start_missing(state.manifest, state.replicas)
                except DeploymentError as error:
                    logger.warning("'%s' could not be brought back: %s", state.manifest.key, error)
                    continue
                self._store.put(DeploymentState(manifest=state.manifest, replicas=kept + started))

    def _start_missing(self, manifest: Manifest, have: list[Replica]) -> tuple[list[Replica], list[Replica]]:
        """Those that do already, and new ones that are ready; where one does not get ready, all new ones go again."""
        states = self._supervisor.states()
        kept: list[Replica] = []
        started: list[Replica] = []
        try:
            for predictor in manifest.spec.predictors:
                fitting = [
                    replica
                    for replica in have
                    if replica.predictor == predictor.name
                    and replica.process == _digest(predictor)
                    and states.get(replica.name) in ("RUNNING", "STARTING")
                    and self._answers(replica, _health_path(manifest, predictor.name))
                ][: predictor.replicas]
                kept += fitting
                started += [self._start(manifest, predictor) for _ in range(predictor.replicas - len(fitting))]
            for replica in kept + started:
                self._wait_for(replica, _health_path(manifest, replica.predictor))
        except BaseException:
            for replica in started:
                self._supervisor.remove(replica.name)
            raise
        return kept, started

    @staticmethod
    def _answers(replica: Replica, path: str) -> bool:
        """One that was just started again takes a while to; one that hangs never does, and another must take its place."""
        deadline = time.monotonic() + HANGS_SECONDS
        while _get(replica.port, path) is None:
            if time.monotonic() > deadline:
                logger.warning("the replica '%s' does not answer; another one takes its place", replica.name)
                return False
            time.sleep(0.2)
        return True

    def _free_port(self) -> int:
        """Of nobody, and of no replica that is only about to take it."""
        taken = {replica.port for state in self._store.deployments() for replica in state.replicas} | self._given_out
        port = next(port for port in iter(free_port, None) if port not in taken)
        self._given_out.add(port)
        return port

    def _go_back(self, manifest: Manifest, before: DeploymentState | None) -> None:
        """To what serves, where the gateway did not take what should: its replicas are there still, and the new ones go."""
        try:
            if before is None:
                self._forget(manifest.metadata.namespace, manifest.metadata.name)
            else:
                self._store.put(before)
                self._route(None)
                self._retire()
        except DeploymentError as error:  # why it came to this is told, not that
            logger.warning("what was begun could not be taken back: %s", error)

    def _start(self, manifest: Manifest, predictor: PredictorSpec) -> Replica:
        name = f"{manifest.metadata.namespace}--{manifest.metadata.name}--{predictor.name}--{uuid.uuid4().hex[:6]}"
        replica = Replica(name=name, predictor=predictor.name, port=self._free_port(), process=_digest(predictor))
        home = self._layout.replicas / name
        home.mkdir(parents=True, exist_ok=True)
        parameters = [{"name": "model_uri", "value": predictor.graph.model_uri, "type": "STRING"}]
        parameters += [{"name": part.name, "value": part.value, "type": part.type} for part in predictor.graph.parameters]
        environment = {
            "GUNICORN_WORKERS": "1",
            **self._environment,
            **{variable.name: variable.value or "" for variable in (predictor.container.env if predictor.container else ())},
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home),
            "PROMETHEUS_MULTIPROC_DIR": str(home / "metrics"),
            "PYTHONPATH": str(PROJECT),
            "PREDICTIVE_UNIT_HTTP_SERVICE_PORT": str(replica.port),
            "PREDICTIVE_UNIT_PARAMETERS": json.dumps(parameters),
            "PREDICTIVE_UNIT_ID": predictor.graph.name,
            "PREDICTOR_ID": predictor.name,
            "SELDON_DEPLOYMENT_ID": manifest.metadata.name,
            "IMAGELOOP_RECORDS": str(self.records(manifest.metadata.namespace, manifest.metadata.name)),
            "IMAGELOOP_LOOP": str(self._layout.folder / "loop.json"),
            SITE_VARIABLE: str(self._layout.folder),
        }
        self._supervisor.add(name, [str(self._python), "-m", "seldon.launcher"], environment)
        return replica

    def _wait_for(self, replica: Replica, path: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while _get(replica.port, path) is None:
            state = self._supervisor.states().get(replica.name)
            ended = state in ("BACKOFF", "FATAL", "EXITED")
            if ended or time.monotonic() > deadline:
                told = f"wanted a replica of '{replica.predictor}' to get ready, found that it did not ({state}): {self._last_words(replica.name)}"
                raise ReplicaEndedError(replica.predictor, told) if ended else DeploymentError(told)
            time.sleep(0.05)

    def _last_words(self, program: str) -> str:
        log = self._layout.logs / f"{program}.log"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        for line in reversed(lines):
            try:
                return str(json.loads(line)["message"])
            except (ValueError, KeyError, TypeError):
                continue
        return lines[-1] if lines else "it said nothing"

    def _upstreams(self) -> list[envoy_config.Deployment]:
        return [
            envoy_config.Deployment(
                state.manifest,
                [
                    envoy_config.Upstream(
                        predictor.name,
                        [replica.port for replica in state.replicas if replica.predictor == predictor.name],
                        _health_path(state.manifest, predictor.name),
                    )
                    for predictor in state.manifest.spec.predictors
                ],
            )
            for state in self._store.deployments()
        ]

    def _route(self, changed: str | None) -> None:
        """Make the gateway send requests to what is written down, and wait until it does, and finds what `changed` well."""
        site = self._store.site()
        if site is None:
            raise DeploymentError("wanted a gateway, found none; run: python run.py deploy")
        site = site.model_copy(update={"version": site.version + 1})
        self._store.put_site(site)
        folder, deployments, version = self._layout.gateway, self._upstreams(), str(site.version)
        envoy_config.write_upstreams(folder, deployments, version)
        for envoy in _envoys(site):
            envoy.wait_until_known([one for one in deployments if one.manifest.key == changed], GATEWAY_SECONDS)
        envoy_config.write_routes(folder, deployments, self._settings, self._keys(), version)
        for envoy in _envoys(site):
            envoy.wait_until_taken(version, GATEWAY_SECONDS)
        envoy_config.prune(folder, deployments, version)

    def _retire(self) -> None:
        """End the programs that no deployment has any more, once they have answered what they were asked."""
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
        for log in sorted(logs, key=_modified)[:-KEPT_LOGS]:
            log.unlink(missing_ok=True)

    def _describe(self, predictor: PredictorSpec, state: DeploymentState) -> PredictorStatus:
        path = _health_path(state.manifest, predictor.name)
        replicas = [
            ReplicaStatus(
                name=replica.name,
                ready=_get(replica.port, path) is not None,
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
            wanted_replicas=predictor.replicas,
            replicas=replicas,
        )

    def _troubles(self, predictors: list[PredictorStatus], site: SiteState) -> list[str]:
        troubles = [
            f"'{part.name}' has {part.ready_replicas} of {part.wanted_replicas} replicas ready"
            for part in predictors
            if part.ready_replicas < part.wanted_replicas
        ]
        if not self._supervisor.is_running():
            troubles.append("the supervisor is gone, nothing would be started again; run: python run.py deploy --resume")
        live = sum(envoy.is_live() for envoy in _envoys(site))
        if live < len(envoy_config.NAMES):
            troubles.append(f"{live} of {len(envoy_config.NAMES)} processes of the gateway are live")
        return troubles

    def _url(self, manifest: Manifest, site: SiteState, host: str = "") -> str:
        scheme, host = "https" if self._settings.tls_certificate else "http", host or self._settings.host
        return f"{scheme}://{in_url(host)}:{site.gateway_port}/seldon/{manifest.key}"


def _envoys(site: SiteState) -> list[Envoy]:
    return [Envoy(port) for port in site.admin_ports]


def _envoy_command(bootstrap: Path) -> list[str]:
    options = f"--disable-hot-restart --log-level warn --concurrency 1 --drain-strategy immediate --drain-time-s {DRAIN_SECONDS}"
    return [str(find_program("envoy")), "-c", str(bootstrap), *options.split()]


def _is_envoy(process: psutil.Process) -> bool:
    try:
        return "envoy" in process.name()
    except psutil.NoSuchProcess:
        return False


def _digest(predictor: PredictorSpec) -> str:
    """What a replica was started for: its part of the manifest, and the code with its lock, which are its image here."""
    code = (
        source_fingerprint(*sorted((PROJECT / "imageloop").glob("*.py")), *(PROJECT / place for place in SERVED_CODE))
        + (PROJECT / "requirements" / "serving.txt").read_text()
    )
    return hashlib.sha256(f"{predictor.process()} {code}".encode()).hexdigest()[:16]


def _modified(file: Path) -> float:
    return file.stat().st_mtime if file.exists() else 0.0


def _health_path(manifest: Manifest, name: str) -> str:
    predictor = manifest.predictor(name)
    container = predictor.container if predictor else None
    probe = container.readiness_probe if container else None
    return probe.http_get.path if probe and probe.http_get else DEFAULT_HEALTH_PATH


def _get(port: int, path: str) -> str | None:
    """The text at a replica's path, None where it does not answer well."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
            return str(answer.read().decode())
    except (OSError, urllib.error.URLError, ValueError):
        return None


def serving_python() -> Path:
    """The Python of the serving environment, which is not this one: they cannot share a process.

    Raises: DeploymentError where `make setup` has not made it.
    """
    python = Path(os.environ.get("IMAGELOOP_SERVING_PYTHON") or PROJECT / ".venv-serving" / "bin" / "python")
    if not python.exists():
        raise DeploymentError(f"wanted the serving environment, found no '{python}'; run: make setup")
    return python
