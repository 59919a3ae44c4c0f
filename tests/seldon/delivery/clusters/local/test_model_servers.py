"""Several models in the same processes: each has its own address, metrics, records and rollout, and none disturbs another."""

import contextlib
import json
import os
import signal
import time

import psutil
import pytest

from seldon.delivery.clusters.cluster_protocol import ReplicaEndedError
from seldon.delivery.clusters.local.http_checks import get
from seldon.delivery.model_server_settings import ServerSettings, shared
from seldon.delivery.render_manifest import render, render_predictor
from seldon.delivery.rollouts.candidate_package import CandidatePackage
from seldon.delivery.rollouts.rollout_runner import RolloutStoppedError, roll_out
from seldon.delivery.rollouts.settings import DeploySettings

pytestmark = pytest.mark.xdist_group("model servers")
SERVER = ServerSettings(name="shelf", memory_mb=2000)


@pytest.fixture(scope="module")
def leaning(make_package):
    """A package that says red whatever it sees."""
    return make_package(bias=60.0)


def spec(model, package, version="1", settings=SERVER, replicas=1):
    predictor = render_predictor(version=version, model_name=model, model_uri=f"file://{package}", replicas=replicas, traffic=100)
    return shared(predictor, settings)


def deploy(cluster, model, package, **options):
    cluster.apply(render(model, "default", [spec(model, package, **options)]))
    return cluster.describe("default", model).url


def label(call, url, content, **headers):
    code, body, _ = call(f"{url}/predict", content, "image/png", **headers)
    assert code == 200, body
    return json.loads(body)["label"]


def state_of(cluster):
    """What the server's process says of its models, by deployment."""
    (port,) = cluster._replicas.servers.ports()
    return json.loads(get(port, "/models"))


def processes_of(cluster):
    """The processes of the site's servers, by pid."""
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # it ended meanwhile
            command = " ".join(process.cmdline())
            if "seldon.model_server" in command and str(cluster._layout.folder) in command:
                found.add(process.pid)
    return found


@pytest.fixture(scope="module")
def shelf(make_cluster, package, leaning):
    """Two models of one server."""
    cluster = make_cluster()
    cluster.urls = {model: deploy(cluster, model, folder) for model, folder in (("plain", package), ("leaning", leaning))}
    yield cluster
    cluster.stop()


def test_models_share_a_process_and_each_has_its_address(shelf, colours, call):
    states = shelf._supervisor.states()
    assert sum(name.startswith("default--") for name in states) == 1, states
    assert label(call, shelf.urls["plain"], colours.blue) == "blue"
    assert label(call, shelf.urls["leaning"], colours.blue) == "red"
    below = shelf.urls["plain"].replace("/plain", "/shelf")
    assert label(call, below, colours.blue, x_imageloop_model="plain") == "blue"
    assert label(call, below, colours.blue, x_imageloop_model="leaning") == "red"
    code, body, _ = call(f"{below}/v2/models/leaning")
    assert (code, json.loads(body)["name"]) == (200, "leaning")
    for headers in ({}, {"x_imageloop_model": "nobody"}):
        code, body, _ = call(f"{below}/predict", colours.blue, "image/png", **headers)
        assert code == 404
        assert b"x-imageloop-model" in body
        assert b"leaning, plain" in body
    assert {model["deployment"]: model["loaded"] for model in state_of(shelf)["models"]} == {
        "default/plain": True, "default/leaning": True,
    }  # fmt: skip


def test_each_model_has_its_own_metrics_and_records(shelf, colours, call, eventually):
    for model, times in (("plain", 3), ("leaning", 5)):
        for _ in range(times):
            label(call, shelf.urls[model], colours.blue)
    for model, label_of_blue in (("plain", "blue"), ("leaning", "red")):
        text = "".join(shelf.exposition("default", model, "v1").values())
        assert (
            f'imageloop_model_info{{data_version="d1",model="{model}",precision="fp32",predictor="v1",version="1"}} 1.0' in text
        )
        assert 'predictor="v1",version="1"} 1.0' in text
        assert ('label="blue"' in text) == (label_of_blue == "blue")
        assert "process_resident_memory_bytes" not in text  # which is of both
        assert call(f"{shelf.urls[model]}/metrics")[0] == 200
    addresses = [address for address in shelf.metrics_addresses() if "process_resident_memory_bytes" in call(address)[1].decode()]
    assert len(addresses) == 1

    def recorded(model):
        lines = [line for file in shelf.records("default", model).rglob("*.jsonl") for line in file.read_text().splitlines()]
        return {json.loads(line)["model_name"] for line in lines}

    assert eventually(lambda: recorded("plain") == {"plain"} and recorded("leaning") == {"leaning"})


def test_grpc_reaches_each_model(shelf, colours):
    import grpc

    from seldon.service.open_inference_proto import message_class

    channel = grpc.insecure_channel(shelf.urls["plain"].split("/")[2])
    for model in ("plain", "leaning"):
        content = message_class("ModelReadyRequest")(name=model).SerializeToString()
        reply = channel.unary_unary("/inference.GRPCInferenceService/ModelReady")(
            content, metadata=(("seldon", model), ("namespace", "default")), timeout=20
        )
        assert message_class("ModelReadyResponse").FromString(reply).ready
        with pytest.raises(grpc.RpcError, match=r"expected a method|Method not found|UNIMPLEMENTED|NOT_FOUND"):
            channel.unary_unary("/inference.GRPCInferenceService/Nothing")(
                b"", metadata=(("seldon", model), ("namespace", "default")), timeout=20
            )
    channel.close()


def test_a_model_that_cannot_be_loaded_does_not_disturb_one_that_serves(shelf, make_package, colours, call, load):
    broken = make_package()
    (broken / "model.onnx").write_bytes(b"nothing")
    with load(shelf.urls["plain"], clients=2) as callers:
        callers.wait_for(20)
        with pytest.raises(ReplicaEndedError, match=r"cannot be loaded: .*model.onnx"):
            deploy(shelf, "broken", broken)
        callers.wait_for(20)
    assert callers.failed == 0, callers.failures
    assert shelf.get("default", "broken") is None
    assert {model["deployment"] for model in state_of(shelf)["models"]} == {"default/plain", "default/leaning"}
    alone = ServerSettings(name="another")
    with pytest.raises(ReplicaEndedError, match="cannot be loaded"):
        deploy(shelf, "broken", broken, settings=alone)
    assert not [name for name in shelf._supervisor.states() if "server-another" in name]


def test_too_little_memory_is_no_fault_of_a_version(make_cluster, package):
    """Two warm models, and a process that is larger than its memory before the first one."""
    cluster = make_cluster()
    enough = ServerSettings(name="shelf", memory_mb=1000, warm=True)
    tight = enough.model_copy(update={"memory_mb": 60})
    deploy(cluster, "plain", package, settings=tight)
    settings = DeploySettings(name="other", model_name="other", replicas=1)
    with pytest.raises(RolloutStoppedError, match=r"expected memory for the model 'other'.*keeps its title") as caught:
        roll_out(cluster, settings, spec("other", package, settings=tight), package=CandidatePackage(package))
    assert not caught.value.rollout.unfit
    assert (
        roll_out(cluster, settings, spec("other", package, settings=enough), package=CandidatePackage(package)).outcome
        == "promoted"
    )
    assert [note.partition(" (")[0] for note in cluster.describe("default", "other").notes] == [
        "'v1' shares a process of the server 'shelf'"
    ]
    cluster.stop()


def test_a_rollout_of_one_model_is_none_of_the_others_concern(shelf, package, leaning, colours, call, load):
    settings = DeploySettings(name="leaning", model_name="leaning", replicas=1, server=SERVER)
    candidate = spec("leaning", package, version="2").model_copy(update={"traffic": 0})
    with load(shelf.urls["plain"], clients=1) as others, load(shelf.urls["leaning"], clients=1) as callers:
        others.wait_for(5)
        assert roll_out(shelf, settings, candidate, package=CandidatePackage(package)).outcome == "promoted"
        callers.wait_for(10)
    assert (others.failed, callers.failed) == (0, 0), others.failures + callers.failures
    assert label(call, shelf.urls["leaning"], colours.blue) == "blue"
    assert set(others.predictors) == {"v1"}
    assert {(model["deployment"], model["predictor"]) for model in state_of(shelf)["models"]} == {
        ("default/plain", "v1"), ("default/leaning", "v2"),
    }  # fmt: skip
    assert sum(name.startswith("default--") for name in shelf._supervisor.states()) == 1


def test_new_settings_reach_the_process_without_another_one(shelf, package):
    settings = DeploySettings(name="plain", model_name="plain", replicas=1)
    pids = processes_of(shelf)
    warm = spec("plain", package, settings=ServerSettings(name="shelf", memory_mb=1500, warm=True))
    assert roll_out(shelf, settings, warm, package=CandidatePackage(package)).outcome == "promoted"
    deadline = time.monotonic() + 5
    while state_of(shelf)["memory_mb"] != 1500 and time.monotonic() < deadline:
        time.sleep(0.1)
    state = state_of(shelf)
    assert state["memory_mb"] == 1500
    assert [model["warm"] for model in state["models"] if model["deployment"] == "default/plain"] == [True]
    assert pids == processes_of(shelf)
    assert roll_out(shelf, settings, warm, package=CandidatePackage(package)).outcome == "unchanged"


def test_a_killed_process_serves_all_its_models_again(shelf, colours, call, eventually):
    for pid in processes_of(shelf):
        os.kill(pid, signal.SIGKILL)

    def serves():
        return [call(f"{shelf.urls[model]}/predict", colours.blue, "image/png")[0] for model in ("plain", "leaning")] == [
            200,
            200,
        ]

    assert eventually(serves, seconds=30)
    assert shelf.describe("default", "plain").state == "Available"


def test_what_is_deleted_ends_and_the_last_one_takes_the_process_with_it(
    make_cluster, package, leaning, colours, call, eventually
):
    cluster = make_cluster()
    urls = {model: deploy(cluster, model, folder) for model, folder in (("plain", package), ("leaning", leaning))}
    cluster.stop(keep=True)
    cluster.apply(cluster.get("default", "plain"))  # which starts the other one again too
    assert [label(call, urls[model], colours.blue) for model in ("plain", "leaning")] == ["blue", "red"]
    cluster.delete("default", "leaning")
    assert label(call, urls["plain"], colours.blue) == "blue"
    assert call(f"{urls['leaning']}/predict", colours.blue, "image/png")[0] == 404
    assert eventually(lambda: [model["deployment"] for model in state_of(cluster)["models"]] == ["default/plain"])
    cluster.delete("default", "plain")
    assert not cluster._supervisor.is_running()
