"""The newest status of a monitor as a ConfigMap, which the pods of its deployment mount: so the page of operations shows it there too."""

from kubernetes import client
from kubernetes.client.exceptions import ApiException

from seldon.delivery.clusters.kubernetes.api_server import api_errors
from seldon.delivery.manifest import MANAGED_BY

KEY = "status.json"
NOT_FOUND = 404


def config_map_of(deployment: str) -> str:
    """The name of the ConfigMap of a deployment, which is named without its namespace."""
    return f"imageloop-monitor-{deployment}"


def write_status(api: client.ApiClient, namespace: str, deployment: str, status: str, timeout: tuple[float, float]) -> None:
    """Write a status, as JSON. Kubelets bring it to running pods within about a minute.

    Raises: DeploymentError where the API server refuses it or does not respond.
    """
    core, name = client.CoreV1Api(api), config_map_of(deployment)
    metadata = client.V1ObjectMeta(name=name, labels=dict([MANAGED_BY]))
    body = client.V1ConfigMap(api_version="v1", kind="ConfigMap", metadata=metadata, data={KEY: status})
    with api_errors(f"write the ConfigMap '{namespace}/{name}'"):
        try:
            core.patch_namespaced_config_map(name, namespace, body, _request_timeout=timeout)
        except ApiException as error:
            if error.status != NOT_FOUND:
                raise
            core.create_namespaced_config_map(namespace, body, _request_timeout=timeout)
