"""The Kubernetes cluster against an API server that checks the operator's schema, and that fails on demand."""

import http.server
import json
import os
import threading
import time
from pathlib import Path

import jsonschema
import pytest
from kubernetes import client

from seldon.clusters.contract import DeploymentError
from seldon.clusters.kubernetes.cluster import KubernetesCluster
from seldon.clusters.settings import KubernetesSettings
from seldon.manifest import dump, render
from seldon.rollouts.runner import roll_back

GROUP = "/apis/machinelearning.seldon.io/v1"
PLACE = f"{GROUP}/namespaces/site/seldondeployments"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/site/leases"


class FakeApiServer(http.server.ThreadingHTTPServer):
    """Keeps objects in memory; an operator of its own makes them Available after `seconds_to_ready`."""

    daemon_threads = True

    def __init__(self, schema: dict) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.schema, self.objects, self.leases = schema, {}, {}
        self.validator = jsonschema.Draft202012Validator(schema)
        self.fault: tuple[int, str] | None = None
        self.silent_seconds = 0.0
        self.seconds_to_ready, self.half_ready, self.broken = 0.0, False, False
        self.applied: list[dict] = []

    def handle_error(self, *_):
        """A client that gave up waiting is no news."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def status_of(self, value: dict) -> dict:
        generation = value["metadata"]["generation"]
        if self.broken:
            return {"state": "Failed", "description": "ImagePullBackOff", "observedGeneration": generation}
        if time.monotonic() < value["_ready_at"]:
            return {"state": "Creating", "observedGeneration": generation - 1}
        name = value["metadata"]["name"]
        parts = {
            f"{name}-{part['name']}-0-classifier": {
                "replicas": part["replicas"],
                "availableReplicas": part["replicas"] - self.half_ready,
            }
            for part in value["spec"]["predictors"]
        }
        return {"state": "Available", "observedGeneration": generation, "deploymentStatus": parts}


class Handler(http.server.BaseHTTPRequestHandler):
    server: FakeApiServer

    def log_message(self, *_):
        pass

    def answer(self, code: int, value: dict) -> None:
        body = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, code: int, message: str) -> None:
        self.answer(code, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code})

    def body(self) -> dict:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def shown(self, value: dict) -> dict:
        return {key: part for key, part in value.items() if not key.startswith("_")} | {"status": self.server.status_of(value)}

    def do_GET(self):
        path = self.path.partition("?")[0]
        discovery = {
            "/version": {"major": "1", "minor": "33"},
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": {
                "kind": "APIGroupList",
                "groups": [
                    {
                        "name": "machinelearning.seldon.io",
                        "versions": [{"groupVersion": "machinelearning.seldon.io/v1", "version": "v1"}],
                        "preferredVersion": {"groupVersion": "machinelearning.seldon.io/v1", "version": "v1"},
                    }
                ],
            },
            GROUP: {
                "kind": "APIResourceList",
                "groupVersion": "machinelearning.seldon.io/v1",
                "resources": [
                    {
                        "name": "seldondeployments", "singularName": "seldondeployment", "namespaced": True, "kind": "SeldonDeployment",
                        "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
                    }
                ],
            },
        }  # fmt: skip
        if path in discovery:
            return self.answer(200, discovery[path])
        if self.failed():
            return None
        if path == f"{GROUP}/seldondeployments":
            return self.answer(
                200, {"kind": "SeldonDeploymentList", "items": [self.shown(value) for value in self.server.objects.values()]}
            )
        store = self.server.leases if path.startswith(LEASES) else self.server.objects
        found = store.get(path.rpartition("/")[2])
        if found is None:
            return self.refuse(404, "not found")
        return self.answer(200, found if store is self.server.leases else self.shown(found))

    def do_PATCH(self):
        value = self.body()
        if self.failed():
            return None
        if (
            self.headers["Content-Type"] != "application/apply-patch+yaml"
            or "fieldManager=imageloop" not in self.path
            or "force=true" in self.path
        ):
            return self.refuse(400, "wanted server-side apply by our manager, without force")
        try:
            self.server.validator.validate(value)
        except jsonschema.ValidationError as error:
            return self.refuse(422, error.message)
        name = value["metadata"]["name"]
        generation = self.server.objects.get(name, {}).get("metadata", {}).get("generation", 0) + 1
        value["metadata"] |= {"generation": generation, "managedFields": [{"manager": "imageloop"}]}
        value["_ready_at"] = time.monotonic() + self.server.seconds_to_ready
        self.server.objects[name] = value
        self.server.applied.append(value)
        return self.answer(200, self.shown(value))

    def do_DELETE(self):
        if self.failed():
            return None
        store = self.server.leases if self.path.startswith(LEASES) else self.server.objects
        if store.pop(self.path.partition("?")[0].rpartition("/")[2], None) is None:
            return self.refuse(404, "not found")
        return self.answer(200, {"kind": "Status", "status": "Success"})

    def do_POST(self):
        value = self.body()
        name = value["metadata"]["name"]
        if name in self.server.leases:
            return self.refuse(409, "already exists")
        value["metadata"]["resourceVersion"] = "1"
        self.server.leases[name] = value
        return self.answer(201, value)

    def do_PUT(self):
        value = self.body()
        known = self.server.leases[value["metadata"]["name"]]["metadata"]["resourceVersion"]
        if value["metadata"].get("resourceVersion") != known:
            return self.refuse(409, "the object has been modified")
        value["metadata"]["resourceVersion"] = str(int(known) + 1)
        self.server.leases[value["metadata"]["name"]] = value
        return self.answer(200, value)

    def failed(self) -> bool:
        time.sleep(self.server.silent_seconds)
        if self.server.fault is None:
            return False
        self.refuse(*self.server.fault)
        return True


@pytest.fixture
def server():
    file = Path(os.environ.get("IMAGELOOP_TEST_DATA", "/nowhere"), "schemas", "seldondeployment-v1.json")
    schema = json.loads(file.read_text()) if file.exists() else {}
    server = FakeApiServer(schema)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def cluster(server):
    configuration = client.Configuration(host=server.url)
    configuration.retries = False
    settings = KubernetesSettings(gateway_url="https://models.example", request_timeout_seconds=20, ready_timeout_seconds=8)
    api = client.ApiClient(configuration)
    yield KubernetesCluster(settings, api)
    api.rest_client.pool_manager.clear()


@pytest.fixture
def impatient(cluster):
    """The same, which waits a second for an answer."""
    return KubernetesCluster(KubernetesSettings(request_timeout_seconds=1), cluster._given)


@pytest.fixture
def manifest(predictor_spec):
    return render("pets", "site", [predictor_spec("1", traffic=90), predictor_spec("2", traffic=10)])


def test_what_was_applied_is_what_is_read_again(cluster, server, manifest):
    server.seconds_to_ready = 0.7

    cluster.apply(manifest)

    assert cluster.get("site", "pets") == manifest
    assert cluster.deployments() == [manifest]
    assert dump(manifest)["spec"] == server.objects["pets"]["spec"]
    status = cluster.describe("site", "pets")
    assert (status.state, status.url) == ("Available", "https://models.example/seldon/site/pets")
    assert [(part.name, part.version, part.traffic, part.ready_replicas) for part in status.predictors] == [
        ("v1", "1", 90, 1),
        ("v2", "2", 10, 1),
    ]


def test_other_weights_are_another_generation_that_is_waited_for(cluster, server, manifest, predictor_spec):
    cluster.apply(manifest)
    server.seconds_to_ready = 0.7
    begun = time.monotonic()

    cluster.apply(manifest.with_predictors([predictor_spec("2")], None))

    assert time.monotonic() - begun >= 0.7
    assert cluster.get("site", "pets").weights == {"v2": 100}


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ((409, 'conflict with "kubectl"'), "another manager owns a field of it: conflict with"),
        ((403, "cannot patch"), "no right to: cannot patch"),
        ((500, "etcd is full"), "the API server refuses: etcd is full"),
        ((401, "token has expired"), "the API server refuses: token has expired"),
    ],
)
def test_what_the_server_refuses_is_told_in_a_sentence(cluster, server, manifest, fault, words):
    server.fault = fault

    with pytest.raises(DeploymentError, match=words):
        cluster.apply(manifest)


def test_a_server_that_does_not_answer_is_not_waited_for_long(impatient, server, manifest):
    server.silent_seconds = 10

    with pytest.raises(DeploymentError, match="no API server that answers"):
        impatient.apply(manifest)
    server.silent_seconds = 0


def test_a_server_that_is_not_there_is_told(manifest):
    cluster = KubernetesCluster(
        KubernetesSettings(request_timeout_seconds=1), client.ApiClient(client.Configuration(host="http://127.0.0.1:9"))
    )

    with pytest.raises(DeploymentError, match="no API server that answers"):
        cluster.get("site", "pets")


def test_half_of_the_replicas_are_not_enough(cluster, server, manifest):
    server.half_ready = True

    with pytest.raises(DeploymentError, match="without all replicas of v1, v2"):
        cluster.apply(manifest)


def test_a_deployment_that_failed_says_why(cluster, server, manifest):
    server.broken = True

    with pytest.raises(DeploymentError, match="ImagePullBackOff"):
        cluster.apply(manifest)


def test_a_manifest_that_the_schema_does_not_take_is_refused(cluster, server, manifest):
    if not server.schema:
        pytest.skip("IMAGELOOP_TEST_DATA names no folder with the schema")
    wrong = manifest.model_copy(update={"spec": manifest.spec.model_copy(update={"replicas": "many"})})

    with pytest.raises(DeploymentError, match="the API server refuses"):
        cluster.apply(wrong)


def test_deleting_twice_is_no_error(cluster, manifest):
    cluster.apply(manifest)
    cluster.delete("site", "pets")
    cluster.delete("site", "pets")

    assert cluster.get("site", "pets") is None
    assert cluster.describe("site", "pets") is None


def test_two_rollouts_at_once_do_not_mix(cluster, server):
    with (
        cluster.changing("site", "pets"),
        pytest.raises(DeploymentError, match="at work on it"),
        cluster.changing("site", "pets"),
    ):
        pass
    assert server.leases == {}


def test_a_lease_whose_holder_was_killed_runs_out(cluster, server):
    with cluster.changing("site", "pets"):
        lease = json.loads(json.dumps(server.leases["imageloop-pets"]))
    lease["spec"]["renewTime"] = "2020-01-01T00:00:00.000000Z"
    server.leases["imageloop-pets"] = lease

    with cluster.changing("site", "pets"):
        assert server.leases["imageloop-pets"]["spec"]["holderIdentity"] != lease["spec"]["holderIdentity"]


def test_rolling_back_is_the_same_act_as_on_one_machine(cluster, manifest, predictor_spec):
    one, two = predictor_spec("1"), predictor_spec("2")
    cluster.apply(manifest.with_predictors([two], None).with_history([one, two]))

    rollout = roll_back(cluster, "site", "pets")

    assert (rollout.version, rollout.before) == ("2", "1")
    assert cluster.get("site", "pets").weights == {"v1": 100}


def test_an_interrupted_rollout_is_undone(cluster, manifest, predictor_spec):
    going_on = {"strategy": "canary", "from": "v1", "to": "v2", "started_at": "2026-01-01T00:00:00+00:00"}
    cluster.apply(manifest.with_predictors([predictor_spec("1", traffic=50), predictor_spec("2", traffic=50)], going_on))

    rollout = roll_back(cluster, "site", "pets")

    assert rollout.before == "1"
    assert cluster.get("site", "pets").weights == {"v1": 100}
    assert cluster.get("site", "pets").rollout is None
