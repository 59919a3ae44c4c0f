"""The Kubernetes cluster against an API server that checks the operator's schema, and that fails on demand."""

import json
import threading
import time
from datetime import UTC, datetime

import pytest
from kubernetes import client

from seldon.delivery.clusters.cluster_protocol import DeploymentError
from seldon.delivery.clusters.kubernetes.kubernetes_cluster import KubernetesCluster
from seldon.delivery.clusters.kubernetes.pods import complete
from seldon.delivery.clusters.settings import KubernetesSettings, PodSettings
from seldon.delivery.manifest import OngoingRollout, dump
from seldon.delivery.render_manifest import render
from seldon.delivery.rollouts.rollout_runner import roll_back
from tests.fakes.kubernetes.api_server import api_of, run_out, running


@pytest.fixture
def server():
    with running() as server:
        yield server


@pytest.fixture
def cluster(server):
    settings = KubernetesSettings(gateway_url="https://models.example", request_timeout_seconds=20, ready_timeout_seconds=8)
    api = api_of(server.url)
    yield KubernetesCluster(settings, api)
    api.rest_client.pool_manager.clear()


@pytest.fixture
def impatient(cluster):
    """The same cluster with a time-out of one second."""
    return KubernetesCluster(KubernetesSettings(request_timeout_seconds=1), cluster._api._given)


@pytest.fixture
def manifest(predictor_spec):
    return render("pets", "site", [predictor_spec("1", traffic=90), predictor_spec("2", traffic=10)])


def test_an_applied_manifest_is_read_unchanged(cluster, server, manifest):
    server.seconds_to_ready = 0.7

    cluster.apply(manifest)

    assert cluster.get("site", "pets") == manifest
    assert dump(manifest)["spec"] == server.objects["pets"]["spec"]
    status = cluster.describe("site", "pets")
    assert (status.state, status.url) == ("Available", "https://models.example/seldon/site/pets")
    assert [(part.name, part.version, part.traffic, part.ready_replicas) for part in status.predictors] == [
        ("v1", "1", 90, 1),
        ("v2", "2", 10, 1),
    ]


def test_deployments_of_others_are_not_stopped(cluster, manifest, predictor_spec):
    cluster.apply(render("of-others", "site", [predictor_spec("1")]))
    assert cluster.belonging_to("site", "pets") == []

    cluster.apply(manifest)

    assert cluster.belonging_to("site", "pets") == [manifest]


def test_the_status_of_the_monitor_is_written_for_the_pods(cluster, server):
    for status in ('{"action": "nothing"}', '{"action": "alert"}'):
        cluster.show_monitor("site", "pets", status)
        assert server.core.objects["configmaps", "site", "imageloop-monitor-pets"]["data"] == {"status.json": status}
    server.fault = (403, "configmaps is forbidden")
    with pytest.raises(
        DeploymentError, match=r"could not write the ConfigMap 'site/imageloop-monitor-pets'.*configmaps is forbidden"
    ):
        cluster.show_monitor("site", "pets", "{}")


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
        ((409, 'conflict with "kubectl"'), "another field manager owns a field of it: conflict with"),
        ((403, "cannot patch"), "no permission to: cannot patch"),
        ((500, "etcd is full"), "the API server refuses: etcd is full"),
        ((401, "token has expired"), "the API server refuses: token has expired"),
    ],
)
def test_a_refusal_of_the_api_server_is_one_sentence(cluster, server, manifest, fault, words):
    server.fault = fault

    with pytest.raises(DeploymentError, match=words):
        cluster.apply(manifest)


def test_a_server_that_does_not_respond_times_out_early(impatient, server, manifest):
    server.silent_seconds = 10

    with pytest.raises(DeploymentError, match="no API server responds"):
        impatient.apply(manifest)
    server.silent_seconds = 0


def test_a_missing_server_is_an_error(manifest):
    cluster = KubernetesCluster(
        KubernetesSettings(request_timeout_seconds=1), client.ApiClient(client.Configuration(host="http://127.0.0.1:9"))
    )

    with pytest.raises(DeploymentError, match=r"the API server of the cluster .* at http://127.0.0.1:9, got no response"):
        cluster.get("site", "pets")


def test_half_of_the_replicas_are_not_enough(cluster, server, manifest):
    server.half_ready = True

    with pytest.raises(DeploymentError, match="without all replicas of v1, v2"):
        cluster.apply(manifest)


def test_a_failed_deployment_has_its_reason(cluster, server, manifest):
    server.broken = True

    with pytest.raises(DeploymentError, match="ImagePullBackOff"):
        cluster.apply(manifest)


@pytest.fixture
def with_image(manifest, predictor_spec):
    """The manifest of one predictor that runs an image."""

    def render_with(image: str):
        predictor = predictor_spec("1", image=f"registry.example/serve@sha256:{image * 64}", traffic=100)
        return manifest.with_predictors([complete(predictor, PodSettings())], None)

    return render_with


def test_readiness_of_an_old_image_does_not_count_for_a_new_one(cluster, server, with_image):
    cluster.apply(with_image("0"))
    server.seconds_to_see = 1.0  # until then the status is that of the previous change
    threading.Timer(0.5, setattr, (server, "broken", True)).start()

    with pytest.raises(DeploymentError, match="ImagePullBackOff"):
        cluster.apply(with_image("1"))


def test_an_earlier_failure_does_not_count_after_a_repair(cluster, server, with_image):
    server.broken = True
    with pytest.raises(DeploymentError, match="ImagePullBackOff"):
        cluster.apply(with_image("0"))
    server.seconds_to_see = 1.0  # until then the status is that of the previous change
    threading.Timer(0.5, setattr, (server, "broken", False)).start()

    cluster.apply(with_image("1"))

    assert cluster.describe("site", "pets").state == "Available"


def test_a_failed_rollout_is_undone_while_the_stable_version_still_serves(
    cluster, server, with_image, predictor_spec, monkeypatch
):
    monkeypatch.setattr("seldon.delivery.clusters.kubernetes.kubernetes_cluster.STALE_SECONDS", 3.0)
    stable = with_image("0")
    cluster.apply(stable)
    server.broken = True
    candidate = complete(predictor_spec("2", traffic=0), PodSettings())
    with pytest.raises(DeploymentError, match="ImagePullBackOff"):
        cluster.apply(stable.with_predictors([*stable.spec.predictors, candidate], None))
    server.seconds_to_see = (
        1.0  # until then the status is that of the previous change; the Deployment of `stable` is there all the while
    )
    threading.Timer(0.5, setattr, (server, "broken", False)).start()

    cluster.apply(stable)

    assert cluster.describe("site", "pets").state == "Available"


def test_a_previous_version_that_is_not_ready_does_not_replace_the_serving_one(
    cluster, server, manifest, predictor_spec, monkeypatch
):
    one, two = predictor_spec("1"), predictor_spec("2")
    serving = manifest.with_predictors([two], None).with_history([one, two])
    cluster.apply(serving)
    apply = type(cluster).apply

    def fails_for_one(self, expected):
        server.broken = "v1" in expected.weights
        apply(self, expected)

    monkeypatch.setattr(type(cluster), "apply", fails_for_one)

    with pytest.raises(DeploymentError, match="to be ready"):
        roll_back(cluster, "site", "pets")

    assert cluster.get("site", "pets") == serving


def test_a_manifest_that_the_schema_does_not_take_is_refused(cluster, server, manifest):
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


def test_the_lease_of_a_killed_process_expires(cluster, server):
    with cluster.changing("site", "pets"):
        lease = json.loads(json.dumps(server.leases["imageloop-pets"]))
    run_out(lease)
    server.leases["imageloop-pets"] = lease

    with cluster.changing("site", "pets"):
        assert server.leases["imageloop-pets"]["spec"]["holderIdentity"] != lease["spec"]["holderIdentity"]


def test_a_holder_that_slept_leaves_the_deployment_to_whoever_took_over(cluster, server, manifest, monkeypatch):
    monkeypatch.setattr("seldon.delivery.clusters.kubernetes.lease.RENEW_SECONDS", 0.05)
    taken = {"holderIdentity": "another", "leaseDurationSeconds": 30, "renewTime": datetime.now(UTC).isoformat()}

    with cluster.changing("site", "pets"):
        cluster.apply(manifest)
        # With a version of its own, as an API server gives it: a renewal that had read the lease before must not write over it.
        lease = server.leases["imageloop-pets"]
        server.leases["imageloop-pets"] = lease | {"spec": taken, "metadata": lease["metadata"] | {"resourceVersion": "1000"}}
        time.sleep(0.5)
        with pytest.raises(DeploymentError, match="another process took over the lease"):
            cluster.apply(manifest)

    assert server.leases["imageloop-pets"]["spec"] == taken
    assert len(server.applied) == 1


def test_a_rollback_works_as_on_the_local_cluster(cluster, manifest, predictor_spec):
    one, two = predictor_spec("1"), predictor_spec("2")
    cluster.apply(manifest.with_predictors([two], None).with_history([one, two]))

    rollout = roll_back(cluster, "site", "pets")

    assert (rollout.version, rollout.before) == ("2", "1")
    assert cluster.get("site", "pets").weights == {"v1": 100}


def test_an_interrupted_rollout_is_undone(cluster, manifest, predictor_spec):
    ongoing = OngoingRollout(strategy="canary", from_predictor="v1", to_predictor="v2")
    cluster.apply(manifest.with_predictors([predictor_spec("1", traffic=50), predictor_spec("2", traffic=50)], ongoing))

    rollout = roll_back(cluster, "site", "pets")

    assert rollout.before == "1"
    assert cluster.get("site", "pets").weights == {"v1": 100}
    assert cluster.get("site", "pets").rollout is None
