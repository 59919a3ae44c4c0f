"""Seldon's contract: one class under two commands, in every form that an image may take."""

import base64
import json
import subprocess

import pytest
from openapi_spec_validator import validate

from seldon.delivery.clusters.local.replicas import serving_python

pytestmark = pytest.mark.xdist_group("service")
CLIENT = """
import sys, json
from seldon_core.seldon_client import SeldonClient
port, image = int(sys.argv[1]), open(sys.argv[2], "rb").read()
client = SeldonClient(gateway_endpoint=f"localhost:{port}", microservice_endpoint=f"localhost:{port}", transport="rest")
good = client.microservice(bin_data=image, method="predict")
assert good.success, good.msg
from google.protobuf.json_format import MessageToDict
print(json.dumps(good.response if isinstance(good.response, dict) else MessageToDict(good.response)))
import numpy as np
pixels = client.microservice(data=np.full((32, 32, 3), 7), method="predict", payload_type="ndarray")
assert pixels.success, pixels.msg
bad = client.microservice(bin_data=b"no image", method="predict")
assert not bad.success
"""


@pytest.fixture(scope="module")
def seldons_own(start_service, package):
    """The unmodified command of the wheel."""
    command = [
        str(serving_python().with_name("seldon-core-microservice")),
        "seldon.microservice.ImageClassifier",
        "--service-type",
        "MODEL",
    ]
    return start_service(command, package, GRPC_WORKERS="0")


@pytest.fixture(params=["launcher", "seldon-core-microservice"])
def served(request, service, seldons_own):
    return service if request.param == "launcher" else seldons_own


def forms(content: bytes) -> dict[str, tuple[str, bytes, str]]:
    text = base64.b64encode(content).decode()
    part = b'--b\r\nContent-Disposition: form-data; name="binData"; filename="a"\r\n\r\n' + content + b"\r\n--b--\r\n"
    return {
        "raw": ("/predict", content, "image/png"),
        "octets": ("/predict", content, "application/octet-stream"),
        "binData": ("/api/v1.0/predictions", json.dumps({"binData": text}).encode(), "application/json"),
        "binData on Seldon's other route": ("/predict", json.dumps({"binData": text}).encode(), "application/json"),
        "jsonData": ("/api/v1.0/predictions", json.dumps({"jsonData": {"image": text}}).encode(), "application/json"),
        "base64 in lines": (
            "/predict",
            json.dumps({"binData": base64.encodebytes(content).decode()}).encode(),
            "application/json",
        ),
        "base64 for addresses": (
            "/predict",
            json.dumps({"binData": base64.urlsafe_b64encode(content).decode().rstrip("=")}).encode(),
            "application/json",
        ),
        "data URI": (
            "/predict",
            json.dumps({"jsonData": {"image": f"data:image/png;base64,{text}"}}).encode(),
            "application/json",
        ),
        "multipart": ("/api/v1.0/predictions", part, "multipart/form-data; boundary=b"),
    }


def red_share(body: bytes) -> float:
    answer = json.loads(body)
    return (
        answer["probabilities"]["red"]
        if "probabilities" in answer
        else answer["data"]["ndarray"][0][answer["data"]["names"].index("red")]
    )


def test_every_form_of_an_image_gets_the_same_prediction(served, call, colours):
    found = {form: call(f"{served.url}{path}", body, kind) for form, (path, body, kind) in forms(colours.red).items()}

    assert {form: code for form, (code, _, _) in found.items()} == dict.fromkeys(found, 200)
    shares = [red_share(body) for _, body, _ in found.values()]
    assert max(shares) - min(shares) < 1e-6
    assert shares[0] > 0.9


def test_prepared_pixels_are_predicted_unchanged(served, call):
    pixels = [[[200, 60, 40]] * 32] * 32
    tensor = {"shape": [1, 32, 32, 3], "values": [200, 60, 40] * 1024}

    one = call(f"{served.url}/api/v1.0/predictions", json.dumps({"data": {"ndarray": pixels}}).encode(), "application/json")
    two = call(
        f"{served.url}/api/v1.0/predictions", json.dumps({"data": {"ndarray": [pixels, pixels]}}).encode(), "application/json"
    )
    flat = call(f"{served.url}/api/v1.0/predictions", json.dumps({"data": {"tensor": tensor}}).encode(), "application/json")

    assert [code for code, _, _ in (one, two, flat)] == [200, 200, 200]
    assert len(json.loads(two[1])["data"]["ndarray"]) == 2
    assert len(json.loads(two[1])["meta"]["tags"]["request_ids"]) == 2
    assert red_share(one[1]) == pytest.approx(red_share(flat[1]))


def test_seldons_own_client_is_served(served, tmp_path, colours):
    (tmp_path / "red.png").write_bytes(colours.red)

    done = subprocess.run(
        [serving_python(), "-W", "ignore", "-c", CLIENT, str(served.port), tmp_path / "red.png"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["data"]["names"] == ["red", "blue"]


def test_seldons_contract_tester_is_content(served, tmp_path):
    pixels = {"name": "pixels", "dtype": "INT", "ftype": "continuous", "range": [0, 255], "shape": [32, 32, 3]}
    share = {"name": "share", "dtype": "FLOAT", "ftype": "continuous", "range": [0, 1]}
    (tmp_path / "contract.json").write_text(json.dumps({"features": [pixels], "targets": [share]}))
    tester = serving_python().with_name("seldon-core-tester")

    command = [tester, tmp_path / "contract.json", "127.0.0.1", str(served.port), "-p", "-b", "2", "-n", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert done.stdout.count('names: "red"') == 3, done.stdout[-2000:]


def test_health_and_metadata_name_the_served_model(served, call):
    ping, status, metadata = (call(f"{served.url}/{path}") for path in ("health/ping", "health/status", "metadata"))

    assert (ping[0], ping[1]) == (200, b"pong")
    assert status[0] == 200
    assert json.loads(metadata[1])["versions"] == ["7"]
    assert json.loads(metadata[1])["custom"]["data_version"] == "d1"


def test_an_explanation_comes_as_numbers_or_as_an_image(served, call, colours):
    numbers = call(f"{served.url}/explain", colours.red, "image/png")
    drawn = call(f"{served.url}/explain", colours.red, "image/png", Accept="image/png")

    assert json.loads(numbers[1])["label"] == "red"
    assert len(json.loads(numbers[1])["heat_map"]) == 4
    assert drawn[2]["Content-Type"] == "image/png"
    assert drawn[1].startswith(b"\x89PNG")


def test_feedback_is_stored_with_its_prediction(service, call, colours):
    asked = json.loads(call(f"{service.url}/predict", colours.red, "image/png", X_Request_Id="mine")[1])
    feedback = call(
        f"{service.url}/feedback", json.dumps({"request_id": asked["request_id"], "label": "blue"}).encode(), "application/json"
    )
    seldon = {"response": {"meta": {"puid": asked["request_id"]}}, "truth": {"strData": "other"}}
    feedback_again = call(f"{service.url}/api/v1.0/feedback", json.dumps(seldon).encode(), "application/json")

    assert (feedback[0], feedback_again[0]) == (200, 200)
    records = sorted(wait_for_records(service, asked["request_id"], 3), key=lambda record: record["time"])
    assert [record.get("ground_truth") for record in records] == [None, "blue", "other"]
    assert records[0]["caller_id"] == "mine"
    assert records[0]["label"] == "red"
    assert records[0]["sha256"] != ""


def wait_for_records(service, request_id: str, count: int) -> list[dict]:
    import time

    for _ in range(100):
        lines = [line for file in service.records.glob("*.jsonl") for line in file.read_text().splitlines() if request_id in line]
        if len(lines) >= count:
            return [json.loads(line) for line in lines]
        time.sleep(0.05)
    raise AssertionError(lines)


def test_metrics_count_over_all_threads(service, call, colours, load):
    def count() -> float:
        lines = call(f"{service.url}/metrics")[1].decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("imageloop_predictions_total"))

    before = count()
    with load(service.url, clients=8) as callers:
        callers.wait_for(400)

    assert count() - before == callers.codes[200]


@pytest.mark.parametrize("path", ["/predict", "/api/v1.0/predictions"])
def test_a_bad_image_of_several_fails_alone(served, call, colours, path):
    """Seldon's message has nulls in its row, and the error under its number."""
    images = [base64.b64encode(content).decode() for content in (b"no image", colours.red, colours.blue)]
    message = {"images": images} if path == "/predict" else {"jsonData": {"images": images}}

    status, body, _ = call(f"{served.url}{path}", json.dumps(message).encode(), "application/json")

    answer = json.loads(body)
    assert status == 200
    if path == "/predict":
        bad, *good = answer["predictions"]
        assert (bad["error"]["reason"], [one["label"] for one in good]) == ("NOT_AN_IMAGE", ["red", "blue"])
        ids = [one["request_id"] for one in good]
    else:
        tags = answer["meta"]["tags"]
        assert (answer["data"]["ndarray"][0], tags["labels"]) == ([None, None], [None, "red", "blue"])
        assert {number: error["reason"] for number, error in tags["errors"].items()} == {"0": "NOT_AN_IMAGE"}
        ids = tags["request_ids"][1:]
    assert [one.partition(".")[2] for one in ids] == ["1", "2"]
    assert (
        call(f"{served.url}/feedback", json.dumps({"request_id": ids[0], "label": "red"}).encode(), "application/json")[0] == 200
    )


def test_a_request_without_a_usable_image_is_refused(served, call):
    message = {"images": [base64.b64encode(content).decode() for content in (b"no image", b"nor this")]}

    status, body, _ = call(f"{served.url}/predict", json.dumps(message).encode(), "application/json")

    assert (status, json.loads(body)["status"]["reason"]) == (400, "NOT_AN_IMAGE")


def test_the_openapi_document_is_valid_and_shown(service, call):
    status, body, _ = call(f"{service.url}/openapi.json")

    assert status == 200
    validate(json.loads(body))
    assert b"/api/v1.0/predictions" in call(f"{service.url}/docs")[1]


def test_the_behaviour_matches_the_document(service, tmp_path):
    """schemathesis makes up requests, good and bad, and holds each answer against the document."""
    command = [
        serving_python().parents[2] / ".venv/bin/schemathesis", "run", f"{service.url}/openapi.json", "--url", service.url, "--max-examples", "15",
        "--checks", "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance", "--seed", "1",
        "--phases", "examples,fuzzing",
    ]  # fmt: skip

    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    assert done.returncode == 0, done.stdout[-3000:]


def test_a_package_with_a_flipped_byte_is_not_served(start_service, make_package):
    folder = make_package()
    model = folder / "model.onnx"
    content = bytearray(model.read_bytes())
    content[100] ^= 1
    model.write_bytes(content)

    refused = start_service([str(serving_python()), "-m", "seldon.launcher"], folder, wait=False)

    assert refused.process.wait(30) != 0
    messages = [json.loads(line)["message"] for line in refused.log.read_text().splitlines() if line.startswith("{")]
    assert any("is not what was signed" in message for message in messages)


def test_the_service_stops_at_once(start_service, package):
    service = start_service([str(serving_python()), "-m", "seldon.launcher"], package)

    service.process.terminate()

    assert service.process.wait(10) == 0
