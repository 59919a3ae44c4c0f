"""The same predictor behind the Open Inference Protocol: as a SeldonDeployment of protocol v2, and as an InferenceService."""

import jsonschema
import kubernetes_validate
import pytest

from seldon.delivery.clusters.kubernetes.pods import complete
from seldon.delivery.clusters.settings import PodSettings
from seldon.delivery.kserve import inference_service
from seldon.delivery.manifest import dump
from seldon.delivery.render_manifest import render
from seldon.service.serving_protocols import V2
from tests.fakes.kubernetes.resources import KUBERNETES, violations

IMAGE = f"registry.example/imageloop-serve-v2@sha256:{'0' * 64}"


@pytest.fixture
def predictor(predictor_spec):
    made = predictor_spec("3", image=IMAGE, replicas=2, protocol=V2)
    return complete(made, PodSettings(database_secret="records", max_replicas=6), V2)


def test_the_operator_takes_protocol_v2(predictor, crd):
    manifest = dump(render("pets", "site", [predictor], V2))

    jsonschema.Draft202012Validator(crd).validate(manifest)
    (found,) = manifest["spec"]["predictors"]
    (service,) = found["componentSpecs"][0]["spec"]["containers"]  # no collector: MLServer leaves no records
    assert manifest["spec"]["protocol"] == "v2"
    assert found["graph"]["name"] == service["name"] == "colours"  # the operator passes it to MLServer
    assert {port["name"]: port["containerPort"] for port in service["ports"]} == {"http": 9000, "metrics": 9002}
    assert service["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"
    assert found["annotations"]["prometheus.io/port"] == "9002"


def test_kserve_is_given_the_same_pod(predictor):
    service = inference_service("pets", "site", predictor)

    expected = service["spec"]["predictor"]
    (container,) = expected["containers"]
    environment = {one["name"]: one.get("value") for one in container["env"]}
    assert container["name"] == "kserve-container"
    assert environment["STORAGE_URI"] == predictor.graph.model_uri
    assert environment["MLSERVER_MODEL_VERSION"] == "3"
    assert (expected["minReplicas"], expected["maxReplicas"]) == (2, 6)
    assert violations(expected) == []


def test_its_pod_is_valid_for_kubernetes(predictor):
    expected = inference_service("pets", "site", predictor)["spec"]["predictor"]
    pod = {key: value for key, value in expected.items() if key not in ("minReplicas", "maxReplicas")}

    kubernetes_validate.validate(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pets"}, "spec": pod}, KUBERNETES, strict=True
    )
