"""The Open Inference Protocol on the service: the same predictions as on its other routes, in JSON and as binary tensors."""

import base64
import http.client
import json
import struct

import numpy as np
import pytest

from imageloop.data.preprocessing import preprocess
from imageloop.data.settings import Limits

pytestmark = pytest.mark.xdist_group("service")
HEADER = "Inference-Header-Content-Length"
LIMITS = Limits(min_side_pixels=8)


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def of_files(*contents: bytes, **fields) -> dict:
    data = [text(content) for content in contents]
    return {"inputs": [{"name": "images", "datatype": "BYTES", "shape": [len(data)], "data": data}], **fields}


def binary(tensor: dict, raw: bytes, **fields) -> tuple[bytes, dict[str, str]]:
    """A body with one binary tensor, and its headers."""
    head = json.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": len(raw)}}], **fields}).encode()
    return head + raw, {HEADER: str(len(head))}


@pytest.fixture
def infer(service, call):
    def send(body: dict | bytes, headers: dict | None = None, path: str = "colours", content_type: str = "application/json"):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, answer, sent = call(f"{service.url}/v2/models/{path}/infer", content, content_type, **(headers or {}))
        return status, answer, sent

    return send


def outputs(answer: bytes) -> dict:
    return {one["name"]: one["data"] for one in json.loads(answer)["outputs"]}


def test_images_get_the_predictions_of_the_other_routes(service, call, infer, colours):
    status, answer, _ = infer(of_files(colours.red, colours.blue, id="mine"), path="colours/versions/7")

    found, named = json.loads(answer), outputs(answer)
    usual = json.loads(call(f"{service.url}/predict", colours.red, "image/png")[1])
    assert (status, found["id"], found["model_name"], found["model_version"]) == (200, "mine", "colours", "7")
    assert named["labels"] == ["red", "blue"]
    assert np.reshape(named["probabilities"], (2, 2))[0] == pytest.approx(list(usual["probabilities"].values()), abs=1e-5)
    assert [one["shape"] for one in found["outputs"]] == [[2, 2], [2], [2]]
    feedback = {"request_id": named["request_ids"][1], "label": "red"}
    assert call(f"{service.url}/feedback", json.dumps(feedback).encode(), "application/json")[0] == 200


@pytest.mark.parametrize("form", ["files", "pixels"])
def test_tensors_may_be_binary_both_ways(infer, colours, form):
    if form == "files":
        raw = b"".join(struct.pack("<I", len(content)) + content for content in (colours.red, colours.blue))
        tensor = {"name": "images", "datatype": "BYTES", "shape": [2]}
    else:
        pixels = np.stack([preprocess(content, 32, LIMITS) for content in (colours.red, colours.blue)])
        raw, tensor = pixels.tobytes(), {"name": "pixels", "datatype": "UINT8", "shape": list(pixels.shape)}
    asked = [
        {"name": "labels", "parameters": {"binary_data": True}},
        {"name": "probabilities", "parameters": {"binary_data": True}},
    ]

    status, answer, headers = infer(*binary(tensor, raw, outputs=asked), content_type="application/octet-stream")

    length = int(headers[HEADER])
    described, tail = json.loads(answer[:length])["outputs"], answer[length:]
    assert status == 200
    assert [one["parameters"]["binary_data_size"] for one in described] == [15, 16]
    assert tail[:15] == b"\x03\x00\x00\x00red\x04\x00\x00\x00blue"
    assert np.frombuffer(tail[15:], "<f4").reshape(2, 2).argmax(1).tolist() == [0, 1]


def test_a_client_may_name_no_content_type_and_no_other_one(service, call, infer, colours):
    """Triton's client names none; urllib names that of a form, which no infer request is."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port)
    connection.request("POST", "/v2/models/colours/infer", json.dumps(of_files(colours.red)))
    answer = connection.getresponse()

    assert (answer.status, outputs(answer.read())["labels"]) == (200, ["red"])
    connection.close()
    assert infer(of_files(colours.red), content_type="text/plain")[0] == 415


def test_only_the_outputs_that_are_asked_for_are_sent(infer, colours):
    assert list(outputs(infer(of_files(colours.red, outputs=[{"name": "labels"}]))[1])) == ["labels"]


BAD = {
    "no inputs": ({"inputs": []}, 400, "got 0 inputs"),
    "no object": ([], 400, "got no list of inputs"),
    "another type": ({"inputs": [{"name": "a", "datatype": "FP64", "shape": [1], "data": [1]}]}, 400, "got another datatype"),
    "too many": (of_files(*[b"\x00"] * 65), 422, "expected 1 to 64 images"),
    "another number": (of_files(b"\x00") | {"inputs": [of_files(b"\x00")["inputs"][0] | {"shape": [2]}]}, 400, "expected the shape [1]"),
    "no image": (of_files(b"\x00not an image"), 400, "expected a usable image"),
    "no base64": ({"inputs": [{"name": "a", "datatype": "BYTES", "shape": [1], "data": ["%"]}]}, 400, "expected base64"),
    "another shape": ({"inputs": [{"name": "a", "datatype": "UINT8", "shape": [1, 4], "data": [1, 2, 3, 4]}]}, 422, "expected pixels of shape"),
    "ragged": ({"inputs": [{"name": "a", "datatype": "UINT8", "shape": [9], "data": [[1], [2, 3]]}]}, 400, "expected numbers of inputs[0].shape"),
    "an unknown output": (of_files(b"\x00", outputs=[{"name": "logits"}]), 400, "expected outputs of probabilities, labels"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_wrong_request_is_refused_with_an_error_that_clients_of_the_protocol_show(infer, name):
    body, code, words = BAD[name]

    status, answer, _ = infer(json.dumps(body).encode())

    found = json.loads(answer)
    assert (status, found["status"]["code"]) == (code, code)
    assert words in found["error"] == found["status"]["info"]


TENSOR = {"name": "images", "datatype": "BYTES", "shape": [1]}


@pytest.mark.parametrize(
    ("body", "headers", "words"),
    [
        (b"{}", {HEADER: "many"}, "expected a number of bytes"),
        (b"{}", {HEADER: "9"}, "expected Inference-Header-Content-Length within the body of 2 bytes, got 9"),
        (*binary(TENSOR, b"\xff\xff\xff\xff!"), "each behind its length in four bytes"),
        (binary(TENSOR, b"12345678")[0] + b"more", binary(TENSOR, b"12345678")[1], "expected binary_data_size 12"),
    ],
)
def test_binary_tensors_of_a_wrong_length_are_refused(infer, body, headers, words):
    status, answer, _ = infer(body, headers, content_type="application/octet-stream")

    assert status == 400
    assert words in json.loads(answer)["error"]


def test_the_service_and_its_model_describe_themselves(service, call):
    def got(path: str) -> tuple[int, dict]:
        status, body, _ = call(f"{service.url}{path}")
        return status, json.loads(body)

    metadata = got("/v2/models/colours/versions/7")[1]
    assert got("/v2")[1]["extensions"] == ["binary_tensor_data"]
    assert [got(f"/v2/{path}") for path in ("health/live", "health/ready")] == [(200, {"live": True}), (200, {"ready": True})]
    assert got("/v2/models/colours/ready") == (200, {"name": "colours", "ready": True})
    assert metadata == got("/v2/models/colours")[1]
    assert (metadata["versions"], metadata["parameters"]) == (["7"], {"class_names": ["red", "blue"]})
    for path in ("/v2/models/cats", "/v2/models/colours/versions/8/ready"):
        status, found = got(path)
        assert (status, found["status"]["reason"]) == (404, "NO_SUCH_MODEL")
    assert got("/v2/models/colours/infer")[0] == 405
    assert got("/v2/other")[1]["status"]["reason"] == "NO_SUCH_ROUTE"


def test_inference_is_counted_under_one_route(service, call, infer, colours):
    infer(of_files(colours.red))
    infer(of_files(colours.red), path="whatever-a-caller-writes")

    lines = call(f"{service.url}/metrics")[1].decode().splitlines()
    routes = {line for line in lines if line.startswith("imageloop_requests_total") and "/v2" in line}
    assert {'route="/v2/models/infer"' in line for line in routes} == {True}
    assert any('code="404"' in line for line in routes)
