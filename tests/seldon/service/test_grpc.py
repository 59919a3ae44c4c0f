"""The service over gRPC: Seldon's protocol and the Open Inference Protocol, with the limits, records and errors of the routes over HTTP."""

import json
import subprocess
import threading
import time

import grpc
import numpy as np
import pytest

from imageloop.data.preprocessing import preprocess
from imageloop.data.settings import Limits
from seldon.delivery.clusters.local.replicas import serving_python
from seldon.delivery.clusters.local.site_folders import free_port
from seldon.service.open_inference_proto import SERVICE, message_class
from tests.seldon.conftest import ROOT

pytestmark = pytest.mark.xdist_group("service")
TRITON = ROOT / ".venv-v2" / "bin" / "python"


@pytest.fixture(scope="module")
def grpc_service(start_service, package):
    port = free_port()
    service = start_service(
        [str(serving_python()), "-m", "seldon.launcher"],
        package,
        PREDICTIVE_UNIT_GRPC_SERVICE_PORT=str(port),
        IMAGELOOP_MAX_WAITING="4",
    )
    service.grpc = f"127.0.0.1:{port}"
    return service


@pytest.fixture
def channel(grpc_service):
    with grpc.insecure_channel(grpc_service.grpc, [("grpc.max_send_message_length", 2**26)]) as opened:
        yield opened


@pytest.fixture
def infer(channel):
    call = channel.unary_unary(
        f"/{SERVICE}/ModelInfer", lambda message: message.SerializeToString(), message_class("ModelInferResponse").FromString
    )

    def send(tensor: dict, raw: list[bytes] = (), metadata=(), **fields):
        request = message_class("ModelInferRequest")(
            **({"model_name": "colours"} | fields), inputs=[{"name": "images"} | tensor], raw_input_contents=raw
        )
        return call(request, metadata=metadata, timeout=20)

    return send


def of_files(*contents: bytes) -> dict:
    return {"datatype": "BYTES", "shape": [len(contents)], "contents": {"bytes_contents": list(contents)}}


def records(service, seconds: float) -> list[dict]:
    """What is recorded after a while."""
    time.sleep(seconds)
    return [json.loads(line) for file in service.records.rglob("*.jsonl") for line in file.read_text().splitlines()]


def test_images_get_the_predictions_of_the_routes_over_http(grpc_service, infer, call, colours):
    found = infer(of_files(colours.red, colours.blue), model_version="7", id="mine")

    usual = json.loads(call(f"{grpc_service.url}/predict", colours.red, "image/png")[1])
    named = {output.name: output for output in found.outputs}
    assert (found.model_name, found.model_version, found.id) == ("colours", "7", "mine")
    assert list(named["labels"].contents.bytes_contents) == [b"red", b"blue"]
    assert list(named["probabilities"].shape) == [2, 2]
    assert named["probabilities"].contents.fp32_contents[:2] == pytest.approx(list(usual["probabilities"].values()), abs=1e-5)


def test_raw_tensors_are_read_and_answered(infer, colours):
    pixels = np.stack([preprocess(content, 32, Limits(min_side_pixels=8)) for content in (colours.blue, colours.red)])

    found = infer({"datatype": "UINT8", "shape": pixels.shape}, [pixels.tobytes()], outputs=[{"name": "probabilities"}])

    assert [output.name for output in found.outputs] == ["probabilities"]
    probabilities = np.frombuffer(found.raw_output_contents[0], "<f4").reshape(2, 2)
    assert probabilities.argmax(1).tolist() == [1, 0]


def test_seldons_messages_are_answered_and_feedback_is_stored(grpc_service, call, colours, tmp_path):
    (tmp_path / "red.png").write_bytes(colours.red)
    program = """
import sys, grpc
from seldon_core.proto import prediction_pb2 as pb, prediction_pb2_grpc
stub = prediction_pb2_grpc.SeldonStub(grpc.insecure_channel(sys.argv[1]))
content = open(sys.argv[2], "rb").read()
found = stub.Predict(pb.SeldonMessage(binData=content), metadata=[("x-request-id", "order-17"), ("x-client", "shop")])
truth = pb.SeldonMessage(strData="blue")
stub.SendFeedback(pb.Feedback(response=pb.SeldonMessage(meta={"puid": found.meta.puid}), truth=truth))
print(found.meta.puid, list(found.data.names), found.meta.tags["labels"].list_value[0])
try:
    stub.Predict(pb.SeldonMessage(strData="hello"))
except grpc.RpcError as error:
    print(error.code().name, error.details())
"""
    done = subprocess.run(
        [serving_python(), "-c", program, grpc_service.grpc, tmp_path / "red.png"], capture_output=True, text=True, check=False
    )

    first, refusal = done.stdout.splitlines() or [done.stderr, ""]
    request_id, _, rest = first.partition(" ")
    assert rest == "['red', 'blue'] red"
    assert refusal.startswith("INVALID_ARGUMENT WRONG_FIELD: expected binData")
    kept = [one for one in records(grpc_service, 2) if one["request_id"] == request_id]
    assert {one["kind"] for one in kept} == {"prediction", "feedback"}
    assert next(one for one in kept if one["kind"] == "prediction")["caller_id"] == "order-17"
    assert 'route="/seldon.protos.Seldon/Predict"' in call(f"{grpc_service.url}/metrics")[1].decode()


def test_metadata_of_the_model_and_health(channel):
    def ask(method: str, request, response: str):
        return channel.unary_unary(
            f"/{SERVICE}/{method}", lambda one: one.SerializeToString(), message_class(response).FromString
        )(request)

    assert ask("ServerLive", message_class("ServerLiveRequest")(), "ServerLiveResponse").live
    assert ask("ServerReady", message_class("ServerReadyRequest")(), "ServerReadyResponse").ready
    assert ask("ModelReady", message_class("ModelReadyRequest")(name="colours"), "ModelReadyResponse").ready
    metadata = ask("ModelMetadata", message_class("ModelMetadataRequest")(name="colours"), "ModelMetadataResponse")
    assert (metadata.name, list(metadata.versions), [one.name for one in metadata.inputs]) == (
        "colours",
        ["7"],
        ["images", "pixels"],
    )


@pytest.mark.parametrize(
    ("tensor", "fields", "status", "reason"),
    [
        (of_files(b"no image"), {}, "INVALID_ARGUMENT", "NOT_AN_IMAGE"),
        (of_files(b"version https://git-lfs.github.com/spec/v1"), {}, "INVALID_ARGUMENT", "NOT_AN_IMAGE"),
        (of_files(*[b"no image"] * 65), {}, "INVALID_ARGUMENT", "WRONG_COUNT"),
        ({"datatype": "FP32", "shape": [1]}, {}, "INVALID_ARGUMENT", "WRONG_FIELD"),
        (
            {"datatype": "UINT8", "shape": [1, 8, 8, 3], "contents": {"uint_contents": [1] * 192}},
            {},
            "INVALID_ARGUMENT",
            "WRONG_SHAPE",
        ),
        (of_files(b"x"), {"model_name": "other"}, "NOT_FOUND", "NO_SUCH_MODEL"),
        (of_files(b"x"), {"model_version": "8"}, "NOT_FOUND", "NO_SUCH_MODEL"),
        (of_files(b"x"), {"outputs": [{"name": "heat"}]}, "INVALID_ARGUMENT", "WRONG_FIELD"),
        (of_files(b"x" * (51 * 2**20)), {}, "RESOURCE_EXHAUSTED", "larger than max"),
    ],
)
def test_bad_requests_get_a_status_and_a_reason(infer, tensor, fields, status, reason):
    with pytest.raises(grpc.RpcError) as refused:
        infer(tensor, **fields)

    assert refused.value.code().name == status
    assert reason in refused.value.details()


def test_bytes_that_are_no_message_are_refused(channel):
    call = channel.unary_unary(f"/{SERVICE}/ModelInfer")

    with pytest.raises(grpc.RpcError, match=r"expected a message inference\.ModelInferRequest"):
        call(b"\xff\xff\xff")


def test_callers_never_get_the_answers_of_others_and_a_full_queue_refuses(infer, colours):
    wrong, full = [], []

    def ask(number: int) -> None:
        label, content = [("red", colours.red), ("blue", colours.blue)][number % 2]
        for _ in range(10):
            try:
                found = infer(of_files(content), outputs=[{"name": "labels"}])
            except grpc.RpcError as error:
                full.append((error.code().name, dict(error.trailing_metadata() or ()), error.details()))
                continue
            if found.outputs[0].contents.bytes_contents[0].decode() != label:
                wrong.append(number)

    callers = [threading.Thread(target=ask, args=[number]) for number in range(50)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()

    assert wrong == []
    assert {name for name, *_ in full} <= {"UNAVAILABLE"}
    assert all(trailing["retry-after"] == "1" for _, trailing, _ in full)
    assert 0 < len(full) < 500


def test_a_port_that_is_taken_ends_the_service_with_a_sentence(grpc_service, start_service, package):
    taken = grpc_service.grpc.rpartition(":")[2]
    service = start_service(
        [str(serving_python()), "-m", "seldon.launcher"], package, wait=False, PREDICTIVE_UNIT_GRPC_SERVICE_PORT=taken
    )

    assert service.process.wait(60) != 0
    assert f"expected a free port for gRPC, got {taken}, which is taken" in service.log.read_text()


@pytest.mark.skipif(not TRITON.exists(), reason="make .venv-v2/.synced installs Triton's client")
def test_tritons_client_gets_predictions(grpc_service, colours, tmp_path):
    (tmp_path / "red.png").write_bytes(colours.red)
    program = """
import sys, numpy as np, tritonclient.grpc as triton
client = triton.InferenceServerClient(sys.argv[1])
assert client.is_server_ready() and client.is_model_ready("colours")
tensor = triton.InferInput("images", [1], "BYTES")
tensor.set_data_from_numpy(np.array([open(sys.argv[2], "rb").read()], object))
print(client.infer("colours", [tensor]).as_numpy("labels")[0].decode())
"""
    done = subprocess.run(
        [TRITON, "-c", program, grpc_service.grpc, tmp_path / "red.png"], capture_output=True, text=True, check=False
    )

    assert done.stdout.strip() == "red", done.stderr
