"""A SeldonDeployment on one machine: supervisord keeps its processes alive, Envoy is its gateway.

The order of every change: new replicas start and are ready; the store has what is deployed; the gateway routes to it; old replicas
finish their requests and end. Whatever interrupts a change, the store is whole, and the next change starts from it.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from imageloop.records.record_reader import RecordTail
from seldon.delivery.clusters.cluster_protocol import Caller, DeploymentError, DeploymentStatus, RolloutUnderWayError
from seldon.delivery.clusters.local import envoy_config
from seldon.delivery.clusters.local.deployment_state import DeploymentState, Store
from seldon.delivery.clusters.local.envoy_process import Gateway
from seldon.delivery.clusters.local.envoy_routes import PREDICTOR_HEADER
from seldon.delivery.clusters.local.gateway_settings import GatewaySettings
from seldon.delivery.clusters.local.http_checks import get
from seldon.delivery.clusters.local.replicas import Replicas
from seldon.delivery.clusters.local.site_folders import Layout
from seldon.delivery.clusters.local.supervisor import Supervisor
from seldon.delivery.clusters.local.unsupported_fields import named_here, refuse_impossible
from seldon.delivery.manifest import Manifest, PredictorSpec
from seldon.service.rollout_requests import SALT_VARIABLE, rollout_headers

logger = logging.getLogger(__name__)


class LocalCluster:
    """Deploys to one site below `folder`. Every replica gets `environment`; the manifest overrides it."""

    def __init__(
        self, folder: Path, settings: GatewaySettings, python: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._layout = Layout(folder.resolve())
        self._salt = (environment or {}).get(SALT_VARIABLE)
        self._store = Store(self._layout.deployments)
        self._supervisor = Supervisor(self._layout)
        self._replicas = Replicas(self._layout, self._store, self._supervisor, python, environment)
        self._gateway = Gateway(self._layout, self._store, self._supervisor, settings)

    def complete(self, predictor: PredictorSpec, deployment: str = "") -> PredictorSpec:
        """A process needs nothing more."""
        return predictor

    def apply(self, manifest: Manifest) -> None:
        """Raises: DeploymentError; what served before serves on."""
        refuse_impossible(manifest)
        with self._gateway.changing():
            draining = self._gateway.ensure_running()
            self._layout.stopped.unlink(missing_ok=True)
            self._replicas.restart_others(manifest)
            before = self._store.get(manifest.metadata.namespace, manifest.metadata.name)
            kept, started = self._replicas.start_missing(manifest, before.replicas if before else [])
            self._store.put(DeploymentState(manifest=manifest, replicas=kept + started))
            try:
                self._gateway.route(manifest.key)
            except DeploymentError:
                self._restore(manifest, before)
                raise
            time.sleep(max(0.0, draining - time.monotonic()))
            self._replicas.retire()

    def _restore(self, manifest: Manifest, before: DeploymentState | None) -> None:
        """Route to the previous version where the gateway did not accept the change: its replicas still run, and the new ones end."""
        try:
            if before is None:
                self._forget(manifest.metadata.namespace, manifest.metadata.name)
            else:
                self._store.put(before)
                self._gateway.route(None)
                self._replicas.retire()
        except DeploymentError as error:  # the caller gets the reason of the failed change, not this
            logger.warning("the change could not be undone: %s", error)

    def repair(self) -> list[str]:
        """A site that `stop` keeps for later stays stopped. Raises: DeploymentError for those that failed, once all were tried."""
        repaired, failed = list[str](), list[str]()
        if self._layout.stopped.exists():
            return repaired
        for state in self._store.deployments():
            place = state.manifest.metadata.namespace, state.manifest.metadata.name
            found = self.describe(*place)
            if found is not None and found.state != "Failed":
                continue
            try:
                with self.changing(*place):
                    if (manifest := self.get(*place)) is not None:
                        self.apply(manifest)
                        repaired.append(f"{manifest.key}: {found.description if found else 'the gateway is gone'}")
            except RolloutUnderWayError:
                continue  # it sees the same
            except DeploymentError as error:
                failed.append(f"{state.manifest.key}: {error}")
        if failed:
            raise DeploymentError("; ".join(failed))
        return repaired

    def get(self, namespace: str, name: str) -> Manifest | None:
        state = self._store.get(namespace, name)
        return state.manifest if state else None

    def belonging_to(self, _namespace: str, _name: str) -> list[Manifest]:
        return [state.manifest for state in self._store.deployments()]

    def delete(self, namespace: str, name: str) -> None:
        """The last one takes the gateway and the supervisor with it."""
        with self._gateway.changing():
            if len(self._store.deployments()) > 1:
                self._gateway.keys()  # of the gateway that stays: checked before anything is removed
            self._forget(namespace, name)

    def _forget(self, namespace: str, name: str) -> None:
        self._store.remove(namespace, name)
        if not self._store.deployments():
            self._gateway.end()
        elif self._supervisor.is_running():
            self._gateway.route(None)
            self._replicas.retire()

    def stop(self, manifests: Sequence[Manifest] = (), *, keep: bool = False) -> None:
        """Stop everything. `keep`: as after a reboot, the next change restarts what was deployed."""
        with self._gateway.changing():
            if not keep:
                for state in self._store.deployments():
                    self._store.remove(state.manifest.metadata.namespace, state.manifest.metadata.name)
            if self._supervisor.is_running():
                for name in self._supervisor.states().keys() - set(envoy_config.NAMES):
                    self._supervisor.remove(name)  # each may finish its requests
            if keep:
                self._layout.stopped.touch()
                self._supervisor.stop()
            else:
                self._gateway.end()

    def describe(self, namespace: str, name: str) -> DeploymentStatus | None:
        state = self._store.get(namespace, name)
        site = self._store.site()
        if state is None or site is None:
            return None
        manifest = state.manifest
        predictors = [self._replicas.status(predictor, state) for predictor in manifest.spec.predictors]
        troubles = [
            f"'{part.name}' has {part.ready_replicas} of {part.expected_replicas} replicas ready"
            for part in predictors
            if part.ready_replicas < part.expected_replicas
        ]
        troubles += self._gateway.troubles(site)
        return DeploymentStatus(
            name=name,
            namespace=namespace,
            state="Failed" if troubles else "Available",
            url=self._gateway.url(manifest, site),
            predictors=predictors,
            notes=named_here(manifest) + self._replicas.servers.notes(state),
            description="; ".join(troubles),
        )

    @contextmanager
    def changing(self, namespace: str, name: str) -> Iterator[None]:
        """The lock goes with the process that holds it, however that ends; what a killed one left is ended first."""
        self._layout.locks.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._layout.locks / f"{namespace}--{name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise RolloutUnderWayError(
                f"another rollout of '{namespace}/{name}' is under way; wait for it to end, or end its process: the next deploy or rollback "
                "undoes what it left"
            ) from error
        try:
            self._end_leftovers()
            yield
        finally:
            lock.release()

    def is_changing(self, namespace: str, name: str) -> bool:
        """Whether another process holds the lock."""
        lock = FileLock(self._layout.locks / f"{namespace}--{name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        except OSError:  # nothing was ever deployed here
            return False
        lock.release()
        return False

    def _end_leftovers(self) -> None:
        """End processes that no deployment has: those of a change that was killed."""
        with self._gateway.changing():
            if not self._supervisor.is_running():
                return
            if self._store.deployments():
                self._replicas.retire()
            else:
                logger.warning("ended what an interrupted deployment had started")
                self._gateway.end()

    def exposition(self, namespace: str, name: str, predictor: str) -> dict[str, str]:
        state = self._store.get(namespace, name)
        replicas = [replica for replica in state.replicas if replica.predictor == predictor] if state else []
        found = {replica.name: get(replica.port, "/metrics") for replica in replicas}
        return {name: text for name, text in found.items() if text is not None}

    def metrics_addresses(self) -> list[str]:
        """List the addresses that Prometheus scrapes: each replica, and the gateway."""
        site = self._store.site()
        ports = [
            replica.port for state in self._store.deployments() for replica in state.replicas
        ] + self._replicas.servers.ports()
        addresses = [f"http://127.0.0.1:{port}/metrics" for port in ports]
        return addresses + [f"http://127.0.0.1:{port}{envoy_config.METRICS_PATH}" for port in (site.admin_ports if site else ())]

    def logs(self) -> Path:
        return self._layout.logs

    def records(self, namespace: str, name: str) -> Path:
        """The folder where the services of a deployment write prediction and feedback records."""
        return self._layout.records / namespace / name

    def tail(self, namespace: str, name: str, model_name: str) -> RecordTail:
        """Read the records from the services' own files."""
        return RecordTail(self.records(namespace, name), from_now=True)

    def caller(self, namespace: str, name: str, predictor: str) -> Caller:
        """Through the gateway, by the header that chooses a predictor."""
        state, site = self._store.get(namespace, name), self._store.site()
        if state is None or site is None:
            raise DeploymentError(
                f"expected a deployment '{namespace}/{name}' to call, got none; run: python run.py deploy --model {name}"
            )
        headers = {PREDICTOR_HEADER: predictor} | rollout_headers(self._salt)
        key = {"X-API-Key": self._gateway.own_key().key} if self._layout.own_key.exists() else {}
        settings = self._gateway.settings
        here = "127.0.0.1" if settings.host == "0.0.0.0" else settings.host  # noqa: S104 # nosec B104 - compared, not bound
        return Caller(self._gateway.url(state.manifest, site, here), headers | key, settings.tls_certificate)
