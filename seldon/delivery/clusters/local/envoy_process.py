"""The gateway of one machine: Envoy processes that the supervisor keeps alive, their configuration, and the API keys."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from filelock import FileLock

from imageloop.atomic_files import own_secret
from seldon.delivery.clusters.api_keys import KEYS_VARIABLE, SITE, ApiKey, read_keys
from seldon.delivery.clusters.cluster_protocol import DeploymentError, NotBegunError
from seldon.delivery.clusters.local import envoy_config
from seldon.delivery.clusters.local.deployment_state import SiteState, Store
from seldon.delivery.clusters.local.envoy_admin import Envoy
from seldon.delivery.clusters.local.envoy_routes import Deployment, Upstream
from seldon.delivery.clusters.local.gateway_settings import GatewaySettings, in_url
from seldon.delivery.clusters.local.replicas import health_path
from seldon.delivery.clusters.local.site_folders import SITE_VARIABLE, Layout, free_port
from seldon.delivery.clusters.local.supervisor import Supervisor, find_program
from seldon.delivery.manifest import Manifest

logger = logging.getLogger(__name__)
GATEWAY_SECONDS = 60.0
DRAIN_SECONDS = 5  # in which clients of an ending gateway move to its successor


class Gateway:
    """Start the gateway, and route to what the store says is deployed."""

    def __init__(self, layout: Layout, store: Store, supervisor: Supervisor, settings: GatewaySettings) -> None:
        self._layout, self._store, self._supervisor = layout, store, supervisor
        self.settings = settings

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Allow one change of the site at a time."""
        self._layout.locks.mkdir(parents=True, exist_ok=True)
        with FileLock(self._layout.locks / "site.lock"):
            yield

    def ensure_running(self) -> float:
        """Start the supervisor and the gateway where they are not; return until when (monotonic) an earlier gateway drains.

        What a killed supervisor left serves on until its successors are ready: both gateways listen at one port.
        """
        keys = self.keys()
        self.settings.check(keys)
        before = self._store.site()
        running = self._supervisor.is_running()
        shares_port = running or any(map(_is_envoy, self._supervisor.orphans()))
        site = self._known_site(before, running=running, shares_port=shares_port)
        folder, upstreams, version = self._layout.gateway, self._upstreams(), str(site.version)
        envoy_config.write_upstreams(folder, upstreams, self.settings, version)
        envoy_config.write_listener(folder, site.gateway_port, self.settings, keys)
        envoy_config.write_routes(folder, upstreams, self.settings, keys, version)
        self._supervisor.start()
        for name, port in zip(envoy_config.NAMES, site.admin_ports, strict=True):
            self._start_process(name, port)
        for envoy in self._envoys(site):
            envoy.wait_until_live(GATEWAY_SECONDS)
        left = self._envoys(before) if before is not None and before is not site and shares_port else []
        drains = [envoy.drain() for envoy in left]
        if before is not None and before is not site:
            self._remove_sockets(before)
        return time.monotonic() + DRAIN_SECONDS + 1 if any(drains) else 0.0

    def _start_process(self, name: str, metrics_port: int) -> None:
        """Start a process of the gateway. One that is not administered by its socket is replaced while its twin serves: it hangs and is killed,
        or a release before 0.3 started it, and it finishes its requests.
        """
        admin_socket = self._layout.admin_socket(metrics_port)
        bootstrap = envoy_config.write_bootstrap(self._layout.gateway, name, admin_socket, metrics_port)
        command, environment = _envoy_command(bootstrap), {SITE_VARIABLE: str(self._layout.folder)}
        if self._supervisor.states().get(name) != "RUNNING" or Envoy(admin_socket).is_live():
            self._supervisor.add(name, command, environment)
            return
        if Envoy(metrics_port).drain():
            logger.info("the process '%s' of the gateway is of an earlier release; another one replaces it", name)
            time.sleep(DRAIN_SECONDS + 1)
        else:
            logger.warning("the process '%s' of the gateway does not respond; another one replaces it", name)
            self._supervisor.kill(name)
        self._supervisor.remove(name)
        self._supervisor.add(name, command, environment)
        Envoy(admin_socket).wait_until_live(GATEWAY_SECONDS)

    def _known_site(self, before: SiteState | None, *, running: bool, shares_port: bool) -> SiteState:
        if before is None or not running or len(before.admin_ports) != len(envoy_config.NAMES):
            site = self._new_site(before, shares_port=shares_port)
            self._store.put_site(site)
            return site
        if self.settings.port not in (0, before.gateway_port) and free_port(self.settings.port) == self.settings.port:
            logger.warning(
                "the gateway stays on port %d, which clients use; it moves to port %d after: python run.py down",
                before.gateway_port,
                self.settings.port,
            )
        return before

    def _new_site(self, before: SiteState | None, *, shares_port: bool) -> SiteState:
        known = before.gateway_port if before else self.settings.port
        port = known if before and shares_port else free_port(known)
        if known not in (0, port):
            logger.warning("port %d is taken; the gateway listens at port %d", known, port)
        admin_ports = tuple(free_port() for _ in envoy_config.NAMES)
        return SiteState(gateway_port=port, admin_ports=admin_ports, version=before.version if before else 0)

    def route(self, changed: str | None) -> None:
        """Route to what the store says is deployed; wait until the gateway does, and finds the deployment `changed` healthy.

        Raises: DeploymentError.
        """
        site = self._store.site()
        if site is None:
            raise DeploymentError("expected a gateway, got none; run: python run.py deploy")
        site = site.model_copy(update={"version": site.version + 1})
        self._store.put_site(site)
        folder, deployments, version = self._layout.gateway, self._upstreams(), str(site.version)
        envoy_config.write_upstreams(folder, deployments, self.settings, version)
        for envoy in self._envoys(site):
            envoy.wait_until_known([one for one in deployments if one.manifest.key == changed], GATEWAY_SECONDS)
        envoy_config.write_routes(folder, deployments, self.settings, self.keys(), version)
        for envoy in self._envoys(site):
            envoy.wait_until_taken(version, GATEWAY_SECONDS)
        envoy_config.prune(folder, deployments, self.settings, version)

    def end(self) -> None:
        """End the gateway and the supervisor of a site without a deployment."""
        self._supervisor.stop()
        if (site := self._store.site()) is not None:
            self._remove_sockets(site)
        self._store.remove_site()
        self._layout.own_key.unlink(missing_ok=True)

    def keys(self) -> list[ApiKey]:
        """Who may call: the keys that the environment names, and where there are any, one of this site itself.

        Raises: NotBegunError where the environment names none and the gateway has some.
        """
        keys = read_keys()
        if not keys and self._store.site() is not None and self._layout.own_key.exists():
            raise NotBegunError(
                f"the gateway has keys, and this shell has none: expected them in {KEYS_VARIABLE}, or anyone could call; "
                "export them, or stop the deployments first: python run.py down"
            )
        return [*keys, self.own_key()] if keys else []

    def own_key(self) -> ApiKey:
        """The key with which this site calls its own gateway."""
        return ApiKey(name=SITE, scopes=("predict", "try"), key=own_secret(self._layout.own_key))

    def _upstreams(self) -> list[Deployment]:
        return [
            Deployment(
                state.manifest,
                [
                    Upstream(
                        predictor.name,
                        [replica.port for replica in state.replicas if replica.predictor == predictor.name],
                        health_path(state.manifest, predictor.name),
                        {
                            replica.port: replica.grpc_port
                            for replica in state.replicas
                            if replica.predictor == predictor.name and replica.grpc_port
                        },
                    )
                    for predictor in state.manifest.spec.predictors
                ],
            )
            for state in self._store.deployments()
        ]

    def troubles(self, site: SiteState) -> list[str]:
        """Return the problems of the supervisor and the gateway, a sentence each."""
        found = []
        if not self._supervisor.is_running():
            found.append("the supervisor is gone, nothing would be started again; run: python run.py deploy --resume")
        live = sum(envoy.is_live() for envoy in self._envoys(site))
        if live < len(envoy_config.NAMES):
            found.append(f"{live} of {len(envoy_config.NAMES)} processes of the gateway are live")
        return found

    def _remove_sockets(self, site: SiteState) -> None:
        for port in site.admin_ports:
            self._layout.admin_socket(port).unlink(missing_ok=True)

    def _envoys(self, site: SiteState) -> list[Envoy]:
        return [Envoy(self._layout.admin_socket(port)) for port in site.admin_ports]

    def url(self, manifest: Manifest, site: SiteState, host: str = "") -> str:
        """The address of a deployment, without a slash at the end."""
        scheme, host = "https" if self.settings.tls_certificate else "http", host or self.settings.host
        return f"{scheme}://{in_url(host)}:{site.gateway_port}/seldon/{manifest.key}"


def _envoy_command(bootstrap: Path) -> list[str]:
    options = f"--disable-hot-restart --log-level warn --concurrency 1 --drain-strategy immediate --drain-time-s {DRAIN_SECONDS}"
    return [str(find_program("envoy")), "-c", str(bootstrap), *options.split()]


def _is_envoy(process: psutil.Process) -> bool:
    try:
        return "envoy" in process.name()
    except psutil.NoSuchProcess:
        return False
