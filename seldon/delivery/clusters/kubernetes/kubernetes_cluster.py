"""A SeldonDeployment on Kubernetes: server-side apply to the API server, and Seldon Core's operator does the rest.

What belongs to us are the fields that our manifest names, under our field manager: what others set beside them stays.
"""

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kubernetes import client
from kubernetes.dynamic.exceptions import NotFoundError

from imageloop.errors import SettingsError
from imageloop.records.store.database import DATABASE_VARIABLE, Database, DatabaseError
from imageloop.records.store.database_tail import DatabaseTail
from seldon.delivery.clusters.cluster_protocol import Caller, DeploymentError, DeploymentStatus
from seldon.delivery.clusters.kubernetes.api_server import ApiServer, api_errors
from seldon.delivery.clusters.kubernetes.deployment_status import (
    has_replicas,
    is_ready,
    is_taken_up,
    manifest_of,
    predictor_status,
)
from seldon.delivery.clusters.kubernetes.lease import Lease
from seldon.delivery.clusters.kubernetes.monitor_status import write_status
from seldon.delivery.clusters.kubernetes.pod_metrics import metrics_of
from seldon.delivery.clusters.kubernetes.pods import PREDICTOR_LABEL, complete
from seldon.delivery.clusters.settings import KubernetesSettings, missing_image
from seldon.delivery.manifest import Manifest, PredictorSpec, dump
from seldon.service.rollout_requests import SALT_VARIABLE, rollout_headers

logger = logging.getLogger(__name__)
FIELD_MANAGER = "imageloop"
POLL_SECONDS = 0.5
STALE_SECONDS = 10.0  # so long a failure may be that of what was applied before


class KubernetesCluster:
    """Deploys through one API server."""

    def __init__(self, settings: KubernetesSettings, api: client.ApiClient | None = None) -> None:
        self._settings = settings
        self._timeout = (settings.request_timeout_seconds,) * 2  # to connect, to read; a float alone is ignored
        self._api = ApiServer(settings.context, api)
        self._database: Database | None = None
        self._leases: dict[str, Lease] = {}

    def complete(self, predictor: PredictorSpec, deployment: str = "") -> PredictorSpec:
        """Raises: SettingsError without an image to run, DeploymentError with a package that only this machine has."""
        if predictor.container is None or not predictor.container.image:
            raise missing_image()
        if (predictor.graph.model_uri or "").startswith("file:"):
            raise DeploymentError(
                f"expected the package where pods can read it, got '{predictor.graph.model_uri}'; where MLflow hands its files on itself, "
                "name the bucket of its artifacts: IMAGELOOP_MLFLOW_ARTIFACTS=s3://..., also in the secret `imageloop-pipeline`"
            )
        return complete(predictor, self._settings.pods, deployment=deployment)

    def apply(self, manifest: Manifest) -> None:
        """Apply a manifest with server-side apply.

        Raises: DeploymentError for a conflict with another manager, missing permissions, a server that does not respond, or a
        deployment that does not get ready.
        """
        self._check_lease(manifest.key)
        body = dump(manifest)
        before = self._get(manifest.metadata.namespace, manifest.metadata.name) or {}
        with api_errors(f"apply '{manifest.key}'"):
            self._api.deployments().server_side_apply(
                body=body,
                name=manifest.metadata.name,
                namespace=manifest.metadata.namespace,
                field_manager=FIELD_MANAGER,
                _request_timeout=self._timeout,
            )
        self._wait(
            manifest, self._settings.ready_timeout_seconds, had_failed=(before.get("status") or {}).get("state") == "Failed"
        )

    def show_monitor(self, namespace: str, name: str, status: str) -> None:
        """Write the newest status of the monitor of a deployment, as JSON, where its pods find it. Raises: DeploymentError."""
        write_status(self._api.client(), namespace, name, status, self._timeout)

    def repair(self) -> list[str]:
        """Kubernetes and Seldon's operator do so."""
        return []

    def get(self, namespace: str, name: str) -> Manifest | None:
        found = self._get(namespace, name)
        return manifest_of(found) if found else None

    def belonging_to(self, namespace: str, name: str) -> list[Manifest]:
        found = self.get(namespace, name)
        return [found] if found else []

    def delete(self, namespace: str, name: str) -> None:
        self._check_lease(f"{namespace}/{name}")
        with api_errors(f"delete '{namespace}/{name}'"):
            try:
                self._api.deployments().delete(name=name, namespace=namespace, _request_timeout=self._timeout)
            except NotFoundError:
                logger.info("'%s/%s' was gone already", namespace, name)

    def stop(self, manifests: Sequence[Manifest] = (), *, keep: bool = False) -> None:
        if keep:
            raise SettingsError("--keep: expected a deployment on this machine, got one on a cluster (kubernetes)")
        for manifest in manifests:
            self.delete(manifest.metadata.namespace, manifest.metadata.name)

    def metrics_addresses(self) -> list[str]:
        """Return no address: the cluster's ServiceMonitor finds the pods."""
        return []

    def describe(self, namespace: str, name: str) -> DeploymentStatus | None:
        found = self._get(namespace, name)
        if found is None:
            return None
        manifest, status = manifest_of(found), found.get("status") or {}
        made = self._deployments(manifest)
        return DeploymentStatus(
            name=name,
            namespace=namespace,
            state=str(status.get("state") or "Creating"),
            url=f"{self._settings.gateway_url.rstrip('/')}/seldon/{manifest.key}",
            predictors=[predictor_status(manifest, part, made.get(part.name)) for part in manifest.spec.predictors],
            description=str(status.get("description") or ""),
        )

    @contextmanager
    def changing(self, namespace: str, name: str) -> Iterator[None]:
        """A lease that is renewed while it is held, and runs out when its holder was killed."""
        lease = self._lease(namespace, name)
        with api_errors(f"lock '{namespace}/{name}'"):
            lease.acquire()
        self._leases[f"{namespace}/{name}"] = lease
        try:
            yield
        finally:
            del self._leases[f"{namespace}/{name}"]
            lease.release()

    def is_changing(self, namespace: str, name: str) -> bool:
        """Whether anyone holds the lease."""
        with api_errors(f"read the lock of '{namespace}/{name}'"):
            return self._lease(namespace, name).is_held()

    def _lease(self, namespace: str, name: str) -> Lease:
        return Lease(client.CoordinationV1Api(self._api.client()), namespace, f"imageloop-{name}", self._timeout)

    def caller(self, namespace: str, name: str, predictor: str) -> Caller:
        """The service that Seldon's operator makes for each predictor.

        Where IMAGELOOP_SOURCE_SALT is not set here as in the pods, test requests are recorded as those of any caller.
        """
        url = self._settings.predictor_url.format(namespace=namespace, name=name, predictor=predictor)
        return Caller(url, rollout_headers(os.environ.get(SALT_VARIABLE)))

    def records(self, namespace: str, name: str) -> Path | None:
        """Records of pods are not on this machine."""
        return None

    def tail(self, namespace: str, name: str, model_name: str) -> DatabaseTail | None:
        """Return the records of the database that the collectors fill, where IMAGELOOP_DATABASE names it here too.

        Without one a rollout goes on, and its verdicts rest on the pods' metrics.
        """
        url = os.environ.get(DATABASE_VARIABLE)
        if not self._settings.pods.database_secret or not url:
            logger.info("no records can be watched: they need pods.database_secret, and %s here", DATABASE_VARIABLE)
            return None
        try:
            self._database = self._database or Database(url)
        except DatabaseError as error:
            logger.warning("no records can be watched: %s", error)
            return None
        return DatabaseTail(self._database, model_name)

    def exposition(self, namespace: str, name: str, predictor: str) -> dict[str, str]:
        """Read the metrics of each ready pod: by its address from within a pod, else through the API server; a pod that goes away is left out.

        A network policy can name pods, but hardly where the API server calls from.
        """
        api = client.CoreV1Api(self._api.client())
        selector = f"seldon-deployment-id={name},{PREDICTOR_LABEL}={predictor}"
        with api_errors(f"read the metrics of '{predictor}'"):
            pods = api.list_namespaced_pod(namespace, label_selector=selector, _request_timeout=self._timeout).items
            found = {pod.metadata.name: metrics_of(pod, namespace, api, self._timeout) for pod in pods if is_ready(pod)}
        return {pod: text for pod, text in found.items() if text is not None}

    def _check_lease(self, key: str) -> None:
        if (lease := self._leases.get(key)) is not None:
            with api_errors(f"read the lock of '{key}'"):
                lease.check()

    def _wait(self, manifest: Manifest, seconds: float, *, had_failed: bool) -> None:
        """Wait until every predictor has its replicas, and they run what this manifest says.

        The operator's status does not name the change that it is about. Its Deployments do, and it reacts within moments. A failure
        of an earlier change is reported that long, also where the expected Deployments were never removed, as when a rollout is undone.
        """
        began = time.monotonic()
        deadline = began + seconds
        while True:
            found = self._get(manifest.metadata.namespace, manifest.metadata.name) or {}
            status = found.get("status") or {}
            made = self._deployments(manifest)
            taken_up = all(is_taken_up(made.get(part.name), part) for part in manifest.spec.predictors)
            wanting = [part.name for part in manifest.spec.predictors if not has_replicas(made.get(part.name), part)]
            if taken_up and status.get("state") == "Available" and not wanting:
                return
            had_failed = had_failed and status.get("state") == "Failed"
            if status.get("state") == "Failed" and ((taken_up and not had_failed) or time.monotonic() - began > STALE_SECONDS):
                raise DeploymentError(
                    f"expected '{manifest.key}' to be ready, but it failed: {status.get('description') or 'no reason given'}"
                )
            if time.monotonic() > deadline:
                raise DeploymentError(
                    f"expected '{manifest.key}' to be ready within {seconds:.0f} s, got it {status.get('state') or 'unknown'}"
                    + (f", without all replicas of {', '.join(wanting)}" if wanting else "")
                )
            time.sleep(POLL_SECONDS)

    def _deployments(self, manifest: Manifest) -> dict[str, Any]:
        """Read the Deployments that the operator made, by predictor."""
        selector = f"seldon-deployment-id={manifest.metadata.name}"
        with api_errors(f"read the Deployments of '{manifest.key}'"):
            found = client.AppsV1Api(self._api.client()).list_namespaced_deployment(
                manifest.metadata.namespace, label_selector=selector, _request_timeout=self._timeout
            )
        return {(one.metadata.labels or {}).get(PREDICTOR_LABEL, ""): one for one in found.items}

    def _get(self, namespace: str, name: str) -> dict[str, Any] | None:
        with api_errors(f"read '{namespace}/{name}'"):
            try:
                found = self._api.deployments().get(name=name, namespace=namespace, _request_timeout=self._timeout)
            except NotFoundError:
                return None
        return dict(found.to_dict())
