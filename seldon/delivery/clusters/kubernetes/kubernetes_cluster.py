"""A SeldonDeployment on Kubernetes: server-side apply to the API server, and Seldon Core's operator does the rest.

What belongs to us are the fields that our manifest names, under our field manager: what others set beside them stays.
"""

import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import requests
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import ConflictError, DynamicApiError, ForbiddenError, NotFoundError
from urllib3.exceptions import HTTPError

from imageloop.errors import ImageLoopError
from imageloop.records.store.database import DATABASE_VARIABLE, Database, DatabaseError
from imageloop.records.store.database_tail import DatabaseTail
from seldon.delivery.clusters.cluster_protocol import Caller, DeploymentError, DeploymentStatus, PredictorStatus, ReplicaStatus
from seldon.delivery.clusters.kubernetes.lease import Lease
from seldon.delivery.clusters.kubernetes.pods import PREDICTOR_LABEL, PROCESS_ANNOTATION, complete
from seldon.delivery.clusters.settings import KubernetesSettings
from seldon.delivery.manifest import Manifest, PredictorSpec, dump
from seldon.service.serving_protocols import PORT

logger = logging.getLogger(__name__)
FIELD_MANAGER = "imageloop"
POLL_SECONDS = 0.5
STALE_SECONDS = 10.0  # so long a failure may be that of what was applied before
IN_POD = "KUBERNETES_SERVICE_HOST"  # what the kubelet tells every container
METRICS_SECONDS = 3.0
POD_IS_GONE = (404, 502, 503, 504)  # what the API server says for a pod that it cannot reach


class KubernetesCluster:
    """One API server."""

    def __init__(self, settings: KubernetesSettings, api: client.ApiClient | None = None) -> None:
        self._settings = settings
        self._timeout = (settings.request_timeout_seconds,) * 2  # to connect, to read; a float alone is ignored
        self._given = api
        self._opened: DynamicClient | None = None
        self._database: Database | None = None
        self._leases: dict[str, Lease] = {}

    def complete(self, predictor: PredictorSpec) -> PredictorSpec:
        """Raises: DeploymentError without an image to run, or with a package that only this machine has."""
        if predictor.container is None or not predictor.container.image:
            raise DeploymentError(
                "wanted the image of the service, found none; give it by digest: --set image=REGISTRY/imageloop-serve@sha256:..."
            )
        if (predictor.graph.model_uri or "").startswith("file:"):
            raise DeploymentError(
                f"wanted the package where pods can read it, found '{predictor.graph.model_uri}'; where MLflow hands its files on itself, "
                "name the bucket that it keeps them in: IMAGELOOP_MLFLOW_ARTIFACTS=s3://..., also in the secret `imageloop-pipeline`"
            )
        return complete(predictor, self._settings.pods)

    def apply(self, manifest: Manifest) -> None:
        """Raises: DeploymentError for a conflict with another manager, missing rights, a server that does not answer, or no readiness."""
        self._check_lease(manifest.key)
        body = dump(manifest)
        before = self._get(manifest.metadata.namespace, manifest.metadata.name) or {}
        with self._told(f"apply '{manifest.key}'"):
            self._resource().server_side_apply(
                body=body,
                name=manifest.metadata.name,
                namespace=manifest.metadata.namespace,
                field_manager=FIELD_MANAGER,
                _request_timeout=self._timeout,
            )
        self._wait(
            manifest, self._settings.ready_timeout_seconds, had_failed=(before.get("status") or {}).get("state") == "Failed"
        )

    def get(self, namespace: str, name: str) -> Manifest | None:
        found = self._get(namespace, name)
        return _manifest(found) if found else None

    def belonging_to(self, namespace: str, name: str) -> list[Manifest]:
        found = self.get(namespace, name)
        return [found] if found else []

    def delete(self, namespace: str, name: str) -> None:
        self._check_lease(f"{namespace}/{name}")
        with self._told(f"delete '{namespace}/{name}'"):
            try:
                self._resource().delete(name=name, namespace=namespace, _request_timeout=self._timeout)
            except NotFoundError:
                logger.info("'%s/%s' was gone already", namespace, name)

    def describe(self, namespace: str, name: str) -> DeploymentStatus | None:
        found = self._get(namespace, name)
        if found is None:
            return None
        manifest, told = _manifest(found), found.get("status") or {}
        made = self._deployments(manifest)
        return DeploymentStatus(
            name=name,
            namespace=namespace,
            state=str(told.get("state") or "Creating"),
            url=f"{self._settings.gateway_url.rstrip('/')}/seldon/{manifest.key}",
            predictors=[_predictor_status(manifest, part, made.get(part.name)) for part in manifest.spec.predictors],
            description=str(told.get("description") or ""),
        )

    @contextmanager
    def changing(self, namespace: str, name: str) -> Iterator[None]:
        """A lease that is renewed while it is held, and runs out when its holder was killed."""
        api = client.CoordinationV1Api(self._open().client)
        with self._told(f"lock '{namespace}/{name}'"):
            lease = Lease(api, namespace, f"imageloop-{name}", self._timeout)
            lease.acquire()
        self._leases[f"{namespace}/{name}"] = lease
        try:
            yield
        finally:
            del self._leases[f"{namespace}/{name}"]
            lease.release()

    def caller(self, namespace: str, name: str, predictor: str) -> Caller:
        """The service that Seldon's operator makes for each predictor."""
        return Caller(self._settings.predictor_url.format(namespace=namespace, name=name, predictor=predictor), {})

    def records(self, namespace: str, name: str) -> Path | None:
        """Records of pods are not on this machine."""
        return None

    def tail(self, namespace: str, name: str, model_name: str) -> DatabaseTail | None:
        """Of the database that the collectors beside the services fill, where IMAGELOOP_DATABASE names it here too.

        A rollout goes on without one: its verdicts rest on what the pods tell Prometheus then.
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
        """From each ready pod: by its address where we are a pod too, else through the API server; one that goes away is left out.

        A network policy can name pods, but hardly where the API server calls from.
        """
        api = client.CoreV1Api(self._open().client)
        selector = f"seldon-deployment-id={name},{PREDICTOR_LABEL}={predictor}"
        with self._told(f"read the metrics of '{predictor}'"):
            pods = api.list_namespaced_pod(namespace, label_selector=selector, _request_timeout=self._timeout).items
            found = {pod.metadata.name: self._metrics_of(api, namespace, pod) for pod in pods if _is_ready(pod)}
        return {pod: text for pod, text in found.items() if text is not None}

    def _metrics_of(self, api: client.CoreV1Api, namespace: str, pod: Any) -> str | None:
        """None of a pod that went away."""
        if IN_POD in os.environ and pod.status.pod_ip:
            with suppress(requests.RequestException):
                answer = requests.get(f"http://{pod.status.pod_ip}:{PORT}/metrics", timeout=METRICS_SECONDS)
                if answer.ok:
                    return str(answer.text)
        name = pod.metadata.name
        try:
            return str(
                api.connect_get_namespaced_pod_proxy_with_path(
                    f"{name}:{PORT}", namespace, "metrics", _request_timeout=self._timeout
                )
            )
        except (ApiException, HTTPError) as error:  # the latter: a node that is lost
            if isinstance(error, ApiException) and error.status not in POD_IS_GONE:
                raise
            logger.info("the metrics of pod '%s' could not be read: %s", name, error)
            return None

    def _check_lease(self, key: str) -> None:
        if (lease := self._leases.get(key)) is not None:
            with self._told(f"look at the lock of '{key}'"):
                lease.check()

    def _wait(self, manifest: Manifest, seconds: float, *, had_failed: bool) -> None:
        """Until every predictor has its replicas, and they run what this manifest says.

        The operator does not tell which change its status is about. Its Deployments do; and it looks at a change within moments. A failure
        of before is told on for as long, also where the Deployments that are wanted never went, as when a rollout is undone.
        """
        began = time.monotonic()
        deadline = began + seconds
        while True:
            found = self._get(manifest.metadata.namespace, manifest.metadata.name) or {}
            told = found.get("status") or {}
            made = self._deployments(manifest)
            taken_up = all(_is_taken_up(made.get(part.name), part) for part in manifest.spec.predictors)
            wanting = [part.name for part in manifest.spec.predictors if not _has_replicas(made.get(part.name), part)]
            if taken_up and told.get("state") == "Available" and not wanting:
                return
            had_failed = had_failed and told.get("state") == "Failed"
            if told.get("state") == "Failed" and ((taken_up and not had_failed) or time.monotonic() - began > STALE_SECONDS):
                raise DeploymentError(
                    f"wanted '{manifest.key}' to be ready, found that it failed: {told.get('description') or 'no reason given'}"
                )
            if time.monotonic() > deadline:
                raise DeploymentError(
                    f"wanted '{manifest.key}' to be ready within {seconds:.0f} s, found it {told.get('state') or 'unknown'}"
                    + (f", without all replicas of {', '.join(wanting)}" if wanting else "")
                )
            time.sleep(POLL_SECONDS)

    def _deployments(self, manifest: Manifest) -> dict[str, Any]:
        """What the operator made of it, by predictor."""
        selector = f"seldon-deployment-id={manifest.metadata.name}"
        with self._told(f"read the Deployments of '{manifest.key}'"):
            found = client.AppsV1Api(self._open().client).list_namespaced_deployment(
                manifest.metadata.namespace, label_selector=selector, _request_timeout=self._timeout
            )
        return {(one.metadata.labels or {}).get(PREDICTOR_LABEL, ""): one for one in found.items}

    def _get(self, namespace: str, name: str) -> dict[str, Any] | None:
        with self._told(f"read '{namespace}/{name}'"):
            try:
                found = self._resource().get(name=name, namespace=namespace, _request_timeout=self._timeout)
            except NotFoundError:
                return None
        return dict(found.to_dict())

    def _resource(self) -> Any:
        return self._open().resources.get(api_version="machinelearning.seldon.io/v1", kind="SeldonDeployment")

    def _open(self) -> DynamicClient:
        if self._opened is None:
            api = self._given or _client(self._settings.context)
            with tempfile.TemporaryDirectory() as folder:  # the library would leave what it discovered in the temporary folder
                self._opened = DynamicClient(api, cache_file=f"{folder}/discovered.json")
        return self._opened

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Turn what the library raises into one sentence."""
        try:
            yield
        except ImageLoopError:
            raise
        except ConflictError as error:
            raise DeploymentError(
                f"wanted to {what}, found that another manager owns a field of it: {_message(error)}; take the field from one of the two"
            ) from error
        except ForbiddenError as error:
            raise DeploymentError(
                f"wanted to {what}, found no right to: {_message(error)}; ask the cluster's keeper for it"
            ) from error
        except (DynamicApiError, ApiException) as error:
            raise DeploymentError(f"wanted to {what}, found that the API server refuses: {_message(error)}") from error
        except (HTTPError, OSError, config.ConfigException) as error:
            raise DeploymentError(f"wanted to {what}, found no API server that answers ({error})") from error


def _client(context: str | None) -> client.ApiClient:
    """In a pod its service account, elsewhere the kubeconfig."""
    try:
        config.load_incluster_config()
        return client.ApiClient()
    except config.ConfigException:
        return config.new_client_from_config(context=context)


def _manifest(found: dict[str, Any]) -> Manifest:
    """What was applied, without what the server adds."""
    metadata = {
        key: found["metadata"][key] for key in ("name", "namespace", "annotations", "labels") if found["metadata"].get(key)
    }
    return Manifest.model_validate(
        {"apiVersion": found["apiVersion"], "kind": found["kind"], "metadata": metadata, "spec": found["spec"]}
    )


def _predictor_status(manifest: Manifest, predictor: PredictorSpec, deployment: Any | None) -> PredictorStatus:
    ready = (deployment.status.available_replicas or 0) if deployment else 0
    replicas = [ReplicaStatus(f"{predictor.name}-{number}", number < ready, 0, "") for number in range(predictor.replicas)]
    return PredictorStatus(
        predictor.name, predictor.version, manifest.weights.get(predictor.name, 0), predictor.shadow, predictor.replicas, replicas
    )


def _is_taken_up(deployment: Any | None, predictor: PredictorSpec) -> bool:
    """Whether a Deployment is of this very predictor, and Kubernetes has looked at it."""
    if deployment is None or (deployment.status.observed_generation or 0) < deployment.metadata.generation:
        return False
    wanted = predictor.annotations.get(PROCESS_ANNOTATION)
    return wanted is None or (deployment.metadata.annotations or {}).get(PROCESS_ANNOTATION) == wanted


def _has_replicas(deployment: Any | None, predictor: PredictorSpec) -> bool:
    if deployment is None:
        return False
    return min(deployment.status.updated_replicas or 0, deployment.status.available_replicas or 0) >= predictor.replicas


def _is_ready(pod: Any) -> bool:
    return any(condition.type == "Ready" and condition.status == "True" for condition in pod.status.conditions or [])


def _message(error: Any) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(getattr(error, "reason", error))
