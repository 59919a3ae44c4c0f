"""The same predictor as KServe's InferenceService, behind the Open Inference Protocol (V2).

As plain pods (deployment mode `Standard`, `RawDeployment` before 0.16): Knative takes neither our probes nor a read-only root with volumes of its own.
Source: serving.kserve.io/v1beta1; a container whose environment names `STORAGE_URI` gets that at /mnt/models.
"""

from typing import Any

from seldon.delivery.manifest import MANAGED_BY, PredictorSpec, dump

CONTAINER = "kserve-container"  # the name that KServe requires


def inference_service(name: str, namespace: str, predictor: PredictorSpec) -> dict[str, Any]:
    """`predictor` with its pods complete (seldon.delivery.clusters.kubernetes.pods)."""
    component = dump(predictor)["componentSpecs"][0]
    pod = component["spec"]
    service, *others = pod["containers"]
    stored = [*service["env"], {"name": "STORAGE_URI", "value": predictor.graph.model_uri}]
    replicas = {
        "minReplicas": predictor.replicas,
        "maxReplicas": component.get("hpaSpec", {}).get("maxReplicas", predictor.replicas),
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": dict([MANAGED_BY]) | predictor.labels,
            "annotations": {"serving.kserve.io/deploymentMode": "Standard"}
            | {key: value for key, value in predictor.annotations.items() if key.startswith("prometheus.io/")},
        },
        "spec": {"predictor": pod | replicas | {"containers": [service | {"name": CONTAINER, "env": stored}, *others]}},
    }
