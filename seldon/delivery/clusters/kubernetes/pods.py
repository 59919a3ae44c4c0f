"""What a predictor's pods need on Kubernetes only: permissions, secrets, limits, writable volumes, a collector for records."""

import hashlib
import json
from typing import Any

from seldon.delivery.clusters.kubernetes.monitor_status import KEY, config_map_of
from seldon.delivery.clusters.settings import PodSettings
from seldon.delivery.manifest import ComponentSpec, Container, EnvVar, Graph, PodSpec, PredictorSpec, Probe, dump
from seldon.service.monitor_metrics import LOOP_VARIABLE
from seldon.service.serving_protocols import PORT, SELDON, Protocol

USER = 10001  # as the image has it
RECORDS = "/records"
SCRATCH = "/tmp"  # noqa: S108 # nosec B108 - of the container, and a volume of its own
ENDING_SECONDS = 5  # of the time to end: for the collector's last pass
GPU = "nvidia.com/gpu"
COLLECTOR = "collector"
MONITOR, MONITOR_FOLDER = "monitor", "/mnt/monitor"
EXECUTOR = {
    "env": [{"name": "SELDON_ENABLE_ROUTING_INJECTION", "value": "true"}]
}  # so that feedback can say which child predicted
PREDICTOR_LABEL = "imageloop.ai/predictor"
PROCESS_ANNOTATION = "imageloop.ai/process"  # of what runs in the pods; the operator copies it to their Deployment
RESTRICTED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


def complete(predictor: PredictorSpec, settings: PodSettings, protocol: Protocol = SELDON, deployment: str = "") -> PredictorSpec:
    """The same predictor with pods as the pod security standard `restricted` wants them. `deployment`: its namespace/name."""
    if predictor.container is None:
        return predictor
    units = [container for container in predictor.component_specs[0].spec.containers if container.name != COLLECTOR]
    containers = [_service(container, settings, protocol, alone=len(units) == 1) for container in units]
    monitored = deployment if protocol.keeps_records else ""
    if monitored:
        containers = [_with_monitor(container) for container in containers]
    if settings.database_secret and protocol.keeps_records:
        containers.append(_collector(predictor.container, settings))
    component: dict[str, Any] = {"spec": _pod(predictor, containers, settings, monitored)}
    if settings.max_replicas is not None and settings.prometheus and deployment:
        component["kedaSpec"] = _scaled_object(predictor, settings, deployment)
    elif settings.max_replicas is not None:
        component["hpaSpec"] = _autoscaling(predictor.replicas, settings)
    graph = _with_secret(predictor.graph, settings)
    scraped = {"prometheus.io/scrape": "true", "prometheus.io/path": "/metrics", "prometheus.io/port": str(protocol.metrics_port)}
    runs = json.dumps([component["spec"].model_dump(mode="json"), graph.model_dump(mode="json")], sort_keys=True)
    known = {PROCESS_ANNOTATION: hashlib.sha256(runs.encode()).hexdigest()[:16]}
    changed = predictor.model_copy(
        update={
            "graph": graph,
            "component_specs": (ComponentSpec.model_validate(component),),
            "annotations": predictor.annotations | scraped | known,
            "labels": predictor.labels | {PREDICTOR_LABEL: predictor.name},
        }
        | ({"svcOrchSpec": EXECUTOR} if graph.type == "ROUTER" else {})
    )
    return PredictorSpec.model_validate(dump(changed))


def _with_secret(graph: Graph, settings: PodSettings) -> Graph:
    """The graph whose storage initializers can read the packages."""
    children = tuple(_with_secret(child, settings) for child in graph.children)
    return graph.model_copy(update={"env_secret_ref_name": settings.storage_secret, "children": children})


def _pod(predictor: PredictorSpec, containers: list[Container], settings: PodSettings, deployment: str) -> PodSpec:
    """The pod around a predictor's containers."""
    pod: dict[str, Any] = {
        "containers": [dump(container) for container in containers],
        "serviceAccountName": settings.service_account,
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER, "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationGracePeriodSeconds": settings.grace_seconds,
        "topologySpreadConstraints": [_spread(predictor, key) for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")],
        "volumes": [
            {"name": "scratch", "emptyDir": {"medium": "Memory", "sizeLimit": "256Mi"}},
            {"name": "records", "emptyDir": {"sizeLimit": "1Gi"}},
            {"name": "keys", "secret": {"secretName": settings.verification_secret}},
        ],
    }  # fmt: skip
    if deployment:  # the ConfigMap may come later: the kubelet then brings it
        monitor = {"name": config_map_of(deployment.rpartition("/")[2]), "optional": True}
        pod["volumes"].append({"name": MONITOR, "configMap": monitor})
    if settings.gpus:
        pod["tolerations"] = [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}]
    return PodSpec.model_validate(pod)


def _service(container: Container, settings: PodSettings, protocol: Protocol, *, alone: bool) -> Container:
    given = {variable.name for variable in container.env}
    gpus = {GPU: str(settings.gpus)} if settings.gpus else {}  # a limit is a request, too
    # The second port has the name that the operator expects; otherwise it adds one of its own.
    ports = {"http": PORT} | ({"metrics": protocol.metrics_port} if protocol.metrics_port != PORT else {})
    own = {
        "IMAGELOOP_RECORDS": RECORDS,
        "IMAGELOOP_VERIFICATION_KEY": "/mnt/keys/signing.pub",
        "GUNICORN_WORKERS": str(settings.workers),
        "IMAGELOOP_COMPUTE_THREADS": str(settings.compute_threads),
        "IMAGELOOP_DRAIN_SECONDS": str(settings.drain_seconds),
    } | ({"IMAGELOOP_DEVICE": "cuda"} if gpus else {})  # and no slow prediction on a processor
    return Container.model_validate(
        dump(container)
        | {
            "env": [dump(variable) for variable in container.env]
            + [{"name": name, "value": value} for name, value in own.items() if name not in given],
            "ports": container.ports
            or [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in ports.items()],
            "resources": settings.resources | ({"limits": settings.resources.get("limits", {}) | gpus} if gpus else {}),
            "securityContext": RESTRICTED,
            "livenessProbe": dump(
                Probe.model_validate(
                    {"httpGet": {"path": protocol.live_path, "port": "http"}, "periodSeconds": 10, "failureThreshold": 6}
                )
            ),
            "volumeMounts": [
                {"name": "scratch", "mountPath": SCRATCH} | ({"subPath": container.name} if not alone else {}),
                {"name": "records", "mountPath": RECORDS},
                {"name": "keys", "mountPath": "/mnt/keys", "readOnly": True},
            ],
        }
    )


def _with_monitor(container: Container) -> Container:
    """The container with the status of the monitor."""
    given = dump(container)
    env = [one for one in given["env"] if one["name"] != LOOP_VARIABLE]
    env.append({"name": LOOP_VARIABLE, "value": f"{MONITOR_FOLDER}/{KEY}"})
    mounts = [*given["volumeMounts"], {"name": MONITOR, "mountPath": MONITOR_FOLDER, "readOnly": True}]
    return Container.model_validate(given | {"env": env, "volumeMounts": mounts})


def _collector(container: Container, settings: PodSettings) -> Container:
    """Return the collector, a sidecar from the same image. It outlives the service in a pod that ends, to store its last records."""
    return Container.model_validate(
        {
            "name": COLLECTOR,
            "image": container.image,
            "command": ["python", "-m", "imageloop.records.store.collector", RECORDS, str(max(0, settings.grace_seconds - ENDING_SECONDS))],
            "env": [dump(EnvVar(name="IMAGELOOP_DATABASE", value_from={"secretKeyRef": {"name": settings.database_secret, "key": "url"}}))],
            "resources": {"requests": {"cpu": "20m", "memory": "160Mi"}, "limits": {"memory": "256Mi"}},
            "securityContext": RESTRICTED,
            "volumeMounts": [{"name": "records", "mountPath": RECORDS}],
        }
    )  # fmt: skip


def _spread(predictor: PredictorSpec, key: str) -> dict[str, Any]:
    return {
        "maxSkew": 1,
        "topologyKey": key,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {PREDICTOR_LABEL: predictor.name}},
    }


def _autoscaling(replicas: int, settings: PodSettings) -> dict[str, Any]:
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": settings.cpu_percent}}
    metrics: list[dict[str, Any]] = [{"type": "Resource", "resource": cpu}]
    if settings.in_flight_per_replica is not None:
        target = {"type": "AverageValue", "averageValue": str(settings.in_flight_per_replica)}
        metrics.append({"type": "Pods", "pods": {"metric": {"name": "imageloop_in_flight"}, "target": target}})
    return {"minReplicas": replicas, "maxReplicas": max(replicas, settings.max_replicas or 0), "metricsv2": metrics}


def _scaled_object(predictor: PredictorSpec, settings: PodSettings, deployment: str) -> dict[str, Any]:
    """What KEDA scales by: the requests in flight that Prometheus knows, and CPU."""
    target = settings.in_flight_per_replica or 2 * settings.compute_threads
    query = f'sum(imageloop_in_flight{{deployment="{deployment}",predictor="{predictor.name}"}})'
    by_requests = {"serverAddress": str(settings.prometheus), "query": query, "threshold": str(target)}
    return {
        "minReplicaCount": predictor.replicas,
        "maxReplicaCount": max(predictor.replicas, settings.max_replicas or 0),
        "pollingInterval": 10,
        "triggers": [
            {"type": "prometheus", "metadata": by_requests},
            {"type": "cpu", "metricType": "Utilization", "metadata": {"value": str(settings.cpu_percent)}},
        ],
    }
