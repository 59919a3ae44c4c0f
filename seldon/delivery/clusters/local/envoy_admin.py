"""The state of the running Envoy, read through its administration socket, which its own user alone may open."""

import http.client
import json
import socket
import time
from pathlib import Path
from typing import Any

from seldon.delivery.clusters.cluster_protocol import DeploymentError
from seldon.delivery.clusters.local.envoy_grpc import grpc_name
from seldon.delivery.clusters.local.envoy_routes import Deployment, cluster_name

READY, CLUSTERS = "/ready", "/clusters?format=json"
ROUTES, DRAIN = "/config_dump?resource=dynamic_route_configs", "/drain_listeners?graceful"
SECONDS = 5


class Envoy:
    """A reader of Envoy's state; changes reach Envoy through files."""

    def __init__(self, admin: Path | int) -> None:
        """`admin`: the socket; the port of a process that a release before 0.3 started."""
        self._admin = admin

    def is_live(self) -> bool:
        try:
            return self._get(READY).strip() == "LIVE"
        except OSError:
            return False

    def drain(self) -> bool:
        """Stop new connections, and close the open ones after their next response; False where Envoy is gone."""
        try:
            self._get(DRAIN, method="POST")
        except OSError:
            return False
        return True

    def wait_until_live(self, seconds: float) -> None:
        self._wait(self.is_live, seconds, "expected the gateway to start, got it not live")

    def wait_until_known(self, deployments: list[Deployment], seconds: float) -> None:
        """Wait until Envoy has the replicas of every predictor, and one in each is healthy.

        Raises: DeploymentError if it does not.
        """
        expected: dict[str, set[int]] = {}
        for key, upstream in ((part.manifest.key, upstream) for part in deployments for upstream in part.upstreams):
            expected[cluster_name(key, upstream.predictor)] = set(upstream.ports)
            expected[grpc_name(key, upstream.predictor)] = set(upstream.grpc_ports.values())
        self._wait(
            lambda: (
                self._ports(expected.keys()) == expected and all(self._is_well(name) for name, ports in expected.items() if ports)
            ),
            seconds,
            "expected the gateway to find the replicas healthy, but it does not",
        )

    def wait_until_taken(self, version: str, seconds: float) -> None:
        """Until it routes by the file of `version`.

        Raises: DeploymentError if it refused it.
        """
        self._wait(
            lambda: self._routes_version() == version,
            seconds,
            "expected the gateway to take its new routes, but it still has the old ones",
        )

    def _is_well(self, name: str) -> bool:
        hosts = [host for status in self._clusters() if status["name"] == name for host in status.get("host_statuses", [])]
        return any(not host["health_status"].get("failed_active_health_check") for host in hosts)

    def _routes_version(self) -> str:
        found = json.loads(self._get(ROUTES))
        hosts = [host for config in found.get("configs", []) for host in config["route_config"].get("virtual_hosts", [])]
        return str(hosts[0]["name"].removeprefix("version-")) if hosts else ""

    def _ports(self, names: Any) -> dict[str, set[int]]:
        return {
            status["name"]: {host["address"]["socket_address"]["port_value"] for host in status.get("host_statuses", [])}
            for status in self._clusters()
            if status["name"] in names
        }

    def _clusters(self) -> list[dict[str, Any]]:
        return list(json.loads(self._get(CLUSTERS)).get("cluster_statuses", []))

    def _get(self, path: str, method: str = "GET") -> str:
        connection = (
            http.client.HTTPConnection("127.0.0.1", self._admin, timeout=SECONDS)
            if isinstance(self._admin, int)
            else _SocketConnection(self._admin)
        )
        try:
            connection.request(method, path)
            return connection.getresponse().read().decode()
        except http.client.HTTPException as error:
            raise OSError(f"no response of Envoy ({error!r})") from error
        finally:
            connection.close()

    @staticmethod
    def _wait(condition: Any, seconds: float, sentence: str) -> None:
        deadline = time.monotonic() + seconds
        while True:
            try:
                if condition():
                    return
            except (OSError, ValueError, KeyError):
                pass
            if time.monotonic() > deadline:
                raise DeploymentError(sentence)
            time.sleep(0.02)


class _SocketConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(SECONDS)
        self.sock.connect(str(self._path))
