"""What a predictor's pods are given on Kubernetes, checked against the operator's schema and the pod security standard `restricted`."""

import jsonschema
import pytest

from imageloop.errors import SettingsError
from seldon.delivery.clusters.kubernetes.kubernetes_cluster import KubernetesCluster
from seldon.delivery.clusters.kubernetes.monitor_status import config_map_of
from seldon.delivery.clusters.kubernetes.pods import complete
from seldon.delivery.clusters.settings import KubernetesSettings, PodSettings
from seldon.delivery.manifest import dump
from seldon.delivery.render_manifest import render
from seldon.service.serving_protocols import V2

IMAGE = f"registry.example/imageloop-serve@sha256:{'0' * 64}"
EVERYTHING = PodSettings(database_secret="records", storage_secret="rclone", max_replicas=6, in_flight_per_replica=4, gpus=1)


@pytest.fixture
def predictor(predictor_spec):
    return predictor_spec("1", image=IMAGE, replicas=2, environment={"IMAGELOOP_MAX_WAITING": "8"})


def pod_of(predictor) -> dict:
    return dump(predictor)["componentSpecs"][0]["spec"]


@pytest.mark.parametrize("settings", [PodSettings(), EVERYTHING], ids=["least", "everything"])
def test_the_operator_takes_it(predictor, settings, crd):
    manifest = dump(render("pets", "site", [complete(predictor, settings)]))

    jsonschema.Draft202012Validator(crd).validate(manifest)
    assert list(unknown(manifest["spec"], crd["properties"]["spec"])) == []  # which server-side apply refuses


def unknown(value, schema, place="spec"):
    """Fields that the schema does not name, where it names any."""
    if isinstance(value, list):
        for part in value:
            yield from unknown(part, schema.get("items", {}), place)
    elif isinstance(value, dict) and "properties" in schema:
        for name, part in value.items():
            if name in schema["properties"]:
                yield from unknown(part, schema["properties"][name], f"{place}.{name}")
            elif not schema.get("x-kubernetes-preserve-unknown-fields") and "additionalProperties" not in schema:
                yield f"{place}.{name}"


def test_the_status_of_the_monitor_is_mounted_where_it_is_written(predictor, crd):
    once = complete(predictor, EVERYTHING, deployment="site/pets")
    jsonschema.Draft202012Validator(crd).validate(dump(render("pets", "site", [once])))
    pod = pod_of(once)
    assert {"name": "monitor", "configMap": {"name": config_map_of("pets"), "optional": True}} in pod["volumes"]
    service, collector = pod["containers"]
    assert {"name": "monitor", "mountPath": "/mnt/monitor", "readOnly": True} in service["volumeMounts"]
    assert {"name": "IMAGELOOP_MONITOR_STATUS", "value": "/mnt/monitor/status.json"} in service["env"]
    assert "monitor" not in {mount["name"] for mount in collector["volumeMounts"]}
    assert complete(once, EVERYTHING, deployment="site/pets") == once
    assert "monitor" not in {volume["name"] for volume in pod_of(complete(predictor, EVERYTHING, V2, "site/pets"))["volumes"]}


def test_a_gpu_is_asked_for_with_its_toleration_and_needed(predictor):
    pod = pod_of(complete(predictor, PodSettings(gpus=2)))

    (container,) = pod["containers"]
    assert container["resources"]["limits"] == {"memory": "1Gi", "nvidia.com/gpu": "2"}
    assert {"name": "IMAGELOOP_DEVICE", "value": "cuda"} in container["env"]
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert "tolerations" not in pod_of(complete(predictor, PodSettings()))


@pytest.mark.parametrize("settings", [PodSettings(), EVERYTHING], ids=["least", "everything"])
def test_its_pods_are_restricted(predictor, settings):
    pod = pod_of(complete(predictor, settings))

    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not pod["automountServiceAccountToken"]
    for container in pod["containers"]:
        assert not container["securityContext"]["allowPrivilegeEscalation"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert {mount["name"] for mount in container["volumeMounts"]} <= {volume["name"] for volume in pod["volumes"]}
    assert {next(iter(volume.keys() - {"name"})) for volume in pod["volumes"]} <= {"emptyDir", "secret"}


def test_the_service_reads_its_mounts_and_variables(predictor):
    service, collector = pod_of(complete(predictor, EVERYTHING))["containers"]

    environment = {variable["name"]: variable.get("value") for variable in service["env"]}
    assert environment["IMAGELOOP_MAX_WAITING"] == "8"
    assert environment["IMAGELOOP_RECORDS"] == "/records"
    assert (environment["GUNICORN_WORKERS"], environment["IMAGELOOP_COMPUTE_THREADS"]) == ("1", "2")
    assert environment["IMAGELOOP_VERIFICATION_KEY"] == "/mnt/keys/signing.pub"
    assert collector["image"] == IMAGE
    assert collector["env"][0]["valueFrom"]["secretKeyRef"]["name"] == "records"


def test_the_autoscaler_has_the_configured_bounds(predictor):
    component = dump(complete(predictor, EVERYTHING))["componentSpecs"][0]

    assert (component["hpaSpec"]["minReplicas"], component["hpaSpec"]["maxReplicas"]) == (2, 6)
    assert [metric["type"] for metric in component["hpaSpec"]["metricsv2"]] == ["Resource", "Pods"]
    without = dump(complete(predictor, EVERYTHING.model_copy(update={"in_flight_per_replica": None})))["componentSpecs"][0]
    assert [metric["type"] for metric in without["hpaSpec"]["metricsv2"]] == ["Resource"]  # a metric of every cluster
    usual = dump(complete(predictor, PodSettings()))["componentSpecs"][0]["hpaSpec"]
    assert (usual["minReplicas"], usual["maxReplicas"]) == (2, 8)
    assert "hpaSpec" not in dump(complete(predictor, PodSettings(max_replicas=None)))["componentSpecs"][0]


def test_keda_takes_the_place_of_the_autoscaler_where_prometheus_is_named(predictor, crd):
    settings = EVERYTHING.model_copy(update={"prometheus": "http://prometheus:9090", "in_flight_per_replica": None})

    completed = complete(predictor, settings, deployment="site/pets")

    component = dump(completed)["componentSpecs"][0]
    requests, cpu = component["kedaSpec"]["triggers"]
    assert "hpaSpec" not in component
    assert (component["kedaSpec"]["minReplicaCount"], component["kedaSpec"]["maxReplicaCount"]) == (2, 6)
    assert requests["metadata"]["query"] == f'sum(imageloop_in_flight{{deployment="site/pets",predictor="{predictor.name}"}})'
    assert (requests["metadata"]["threshold"], cpu["metadata"]["value"]) == ("4", "70")
    manifest = dump(render("pets", "site", [completed]))
    jsonschema.Draft202012Validator(crd).validate(manifest)
    assert list(unknown(manifest["spec"], crd["properties"]["spec"])) == []


def test_applying_twice_changes_nothing(predictor):
    once = complete(predictor, EVERYTHING)

    assert pod_of(once)["containers"][0] == pod_of(complete(once, EVERYTHING))["containers"][0]


def test_pods_without_an_image_are_refused_before_any_request(predictor_spec):
    with pytest.raises(SettingsError, match="--set image="):
        KubernetesCluster(KubernetesSettings()).complete(predictor_spec("1"))
