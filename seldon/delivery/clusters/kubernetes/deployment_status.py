"""Read the status of a SeldonDeployment, its Deployments and its pods from the API server."""

from typing import Any

from seldon.delivery.clusters.cluster_protocol import PredictorStatus, ReplicaStatus
from seldon.delivery.clusters.kubernetes.pods import PROCESS_ANNOTATION
from seldon.delivery.manifest import Manifest, PredictorSpec


def manifest_of(resource: dict[str, Any]) -> Manifest:
    """The manifest as it was applied, without what the server adds."""
    metadata = {
        key: resource["metadata"][key] for key in ("name", "namespace", "annotations", "labels") if resource["metadata"].get(key)
    }
    return Manifest.model_validate(
        {"apiVersion": resource["apiVersion"], "kind": resource["kind"], "metadata": metadata, "spec": resource["spec"]}
    )


def predictor_status(manifest: Manifest, predictor: PredictorSpec, deployment: Any | None) -> PredictorStatus:
    """The status of a predictor, from the Deployment that the operator made for it."""
    ready = (deployment.status.available_replicas or 0) if deployment else 0
    replicas = [ReplicaStatus(f"{predictor.name}-{number}", number < ready, 0, "") for number in range(predictor.replicas)]
    return PredictorStatus(
        predictor.name, predictor.version, manifest.weights.get(predictor.name, 0), predictor.shadow, predictor.replicas, replicas
    )


def is_taken_up(deployment: Any | None, predictor: PredictorSpec) -> bool:
    """Whether a Deployment belongs to this version of the predictor, and Kubernetes has observed it."""
    if deployment is None or (deployment.status.observed_generation or 0) < deployment.metadata.generation:
        return False
    process = predictor.annotations.get(PROCESS_ANNOTATION)
    return process is None or (deployment.metadata.annotations or {}).get(PROCESS_ANNOTATION) == process


def has_replicas(deployment: Any | None, predictor: PredictorSpec) -> bool:
    """Whether all its replicas run the newest template and are available."""
    if deployment is None:
        return False
    return min(deployment.status.updated_replicas or 0, deployment.status.available_replicas or 0) >= predictor.replicas


def is_ready(pod: Any) -> bool:
    """Whether a pod is ready."""
    return any(condition.type == "Ready" and condition.status == "True" for condition in pod.status.conditions or [])
