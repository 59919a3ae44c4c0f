"""Read the metrics of one pod."""

import logging
import os
from contextlib import suppress
from typing import Any

import requests
from kubernetes import client
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from seldon.service.serving_protocols import PORT

logger = logging.getLogger(__name__)
IN_POD = "KUBERNETES_SERVICE_HOST"  # the kubelet sets it in every container
METRICS_SECONDS = 3.0
POD_IS_GONE = (404, 502, 503, 504)  # the API server's status for a pod that it cannot reach


def metrics_of(pod: Any, namespace: str, api: client.CoreV1Api, timeout: tuple[float, float]) -> str | None:
    """Read the metrics of a pod: by its address from within a pod, else through the API server; None of one that went away."""
    if IN_POD in os.environ and pod.status.pod_ip:
        with suppress(requests.RequestException):
            response = requests.get(f"http://{pod.status.pod_ip}:{PORT}/metrics", timeout=METRICS_SECONDS)
            if response.ok:
                return str(response.text)
    name = pod.metadata.name
    try:
        return str(
            api.connect_get_namespaced_pod_proxy_with_path(f"{name}:{PORT}", namespace, "metrics", _request_timeout=timeout)
        )
    except (ApiException, HTTPError) as error:  # the latter: a node that is lost
        if isinstance(error, ApiException) and error.status not in POD_IS_GONE:
            raise
        logger.info("the metrics of pod '%s' could not be read: %s", name, error)
        return None
