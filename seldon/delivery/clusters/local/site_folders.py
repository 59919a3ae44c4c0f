"""The folders of the local cluster: one a site, so that two sites on one machine do not collide."""

import hashlib
import os
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

SITE_VARIABLE = "IMAGELOOP_SITE"  # set in every process of ours, so that orphans of a killed supervisor can be recognized


@dataclass(frozen=True)
class Layout:
    """`folder` holds everything but the sockets, whose paths may have 107 characters at most."""

    folder: Path

    @property
    def socket(self) -> Path:
        """Return the supervisor's socket."""
        return self._socket("")

    def admin_socket(self, metrics_port: int) -> Path:
        """Return the socket through which the gateway process with this port of metrics is administered."""
        return self._socket(f"-{metrics_port}")

    def _socket(self, suffix: str) -> Path:
        digest = hashlib.sha256(str(self.folder).encode()).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"imageloop-{os.getuid()}-{digest}{suffix}.sock"

    @property
    def supervisor_config(self) -> Path:
        return self.folder / "supervisord.conf"

    @property
    def supervisor_log(self) -> Path:
        return self.folder / "logs" / "supervisord.log"

    @property
    def programs(self) -> Path:
        return self.folder / "programs"

    @property
    def gateway(self) -> Path:
        return self.folder / "gateway"

    @property
    def deployments(self) -> Path:
        return self.folder / "deployments"

    @property
    def replicas(self) -> Path:
        return self.folder / "replicas"

    @property
    def records(self) -> Path:
        return self.folder / "records"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def stopped(self) -> Path:
        """The mark of a site that was stopped to be started again later, by its user."""
        return self.folder / "stopped"

    @property
    def own_key(self) -> Path:
        return self.folder / "gateway.key"

    @property
    def locks(self) -> Path:
        return self.folder / "locks"


def free_port(preferred: int = 0) -> int:
    """A port of the loopback interface that is free now; `preferred` where that is."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free port on 127.0.0.1")
