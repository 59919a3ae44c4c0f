"""A lock in the API server that runs out by itself when its holder was killed."""

import contextlib
import os
import socket
import threading
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from kubernetes import client
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from seldon.delivery.clusters.cluster_protocol import DeploymentError

DURATION_SECONDS = 30
RENEW_SECONDS = 10
UNREACHABLE = (ApiException, HTTPError, OSError)


class Lease:
    """Gives a lock to one holder at a time. Source: coordination.k8s.io/v1."""

    def __init__(self, api: client.CoordinationV1Api, namespace: str, name: str, timeout_seconds: tuple[float, float]) -> None:
        self._api, self._namespace, self._name, self._timeout = api, namespace, name, timeout_seconds
        self._holder = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self._ended, self._lost = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True, name="lease")

    def acquire(self) -> None:
        """Raises: DeploymentError while another one holds it."""
        found = self._read()
        if found is not None and _is_held(found):
            raise DeploymentError(
                f"expected to change '{self._namespace}/{self._name}', got {found.spec.holder_identity} at work on it; wait for it"
            )
        try:
            self._write(found)
        except ApiException as error:
            if error.status != 409:
                raise
            raise DeploymentError(
                f"expected to change '{self._namespace}/{self._name}', but another process was quicker; wait for it"
            ) from error
        self._thread.start()

    def is_held(self) -> bool:
        """Whether anyone holds it."""
        return _is_held(self._read())

    def check(self) -> None:
        """Right before anything is written: the thread that renews it may sleep with the machine, and wake after us.

        Raises: DeploymentError where it ran out meanwhile, and another one took it.
        """
        found = None if self._lost.is_set() else self._read()
        if found is None or found.spec.holder_identity != self._holder:
            raise DeploymentError(
                f"expected to change '{self._namespace}/{self._name}', but another process took over the lease, which this one could not renew; "
                "it is left to that one"
            )

    def release(self) -> None:
        """Release the lease, unless another process holds it by now."""
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(*UNREACHABLE):
            found = self._read()
            if found is not None and found.spec.holder_identity == self._holder:
                unchanged = client.V1DeleteOptions(preconditions={"resourceVersion": found.metadata.resource_version})
                self._api.delete_namespaced_lease(self._name, self._namespace, body=unchanged, _request_timeout=self._timeout)

    def _renew(self) -> None:
        while not self._ended.wait(RENEW_SECONDS):
            with contextlib.suppress(*UNREACHABLE):
                found = self._read()
                if found is None or found.spec.holder_identity != self._holder:
                    self._lost.set()
                    return
                self._write(found)

    def _read(self) -> Any | None:
        try:
            return self._api.read_namespaced_lease(self._name, self._namespace, _request_timeout=self._timeout)
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    def _write(self, found: Any | None) -> None:
        """The resource version makes the second of two that are as quick fail."""
        version = found.metadata.resource_version if found is not None else None
        spec = client.V1LeaseSpec(
            holder_identity=self._holder, lease_duration_seconds=DURATION_SECONDS, renew_time=datetime.now(UTC)
        )
        body = client.V1Lease(metadata=client.V1ObjectMeta(name=self._name, resource_version=version), spec=spec)
        if found is None:
            self._api.create_namespaced_lease(self._namespace, body, _request_timeout=self._timeout)
        else:
            self._api.replace_namespaced_lease(self._name, self._namespace, body, _request_timeout=self._timeout)


def _is_held(lease: Any | None) -> bool:
    if lease is None or not lease.spec.holder_identity or not lease.spec.renew_time:
        return False
    return bool(datetime.now(UTC) < lease.spec.renew_time + timedelta(seconds=lease.spec.lease_duration_seconds or 0))
