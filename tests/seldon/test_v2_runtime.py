"""The same package behind MLServer, which answers the Open Inference Protocol: real processes, and the same answers."""

import base64
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from imageloop.data.preprocessing import preprocess
from imageloop.data.settings import Limits
from imageloop.model.package import read_info
from seldon.delivery.clusters.local.site_folders import free_port
from seldon.service.serving_protocols import mlserver_environment

ROOT = Path(__file__).parents[2]
MLSERVER = ROOT / ".venv-v2" / "bin" / "mlserver"
pytestmark = pytest.mark.skipif(not MLSERVER.exists(), reason="make .venv-v2/.synced installs MLServer")


@pytest.fixture(scope="module")
def start(tmp_path_factory, keys):
    started = []

    def start(package: Path) -> tuple[str, subprocess.Popen, Path]:
        folder, port = tmp_path_factory.mktemp("mlserver"), free_port()
        here = {
            "MLSERVER_HOST": "127.0.0.1", "MLSERVER_HTTP_PORT": str(port), "MLSERVER_GRPC_PORT": str(free_port()),
            "MLSERVER_METRICS_PORT": str(free_port()), "MLSERVER_METRICS_DIR": str(folder), "MLSERVER_MODEL_URI": str(package),
        }  # fmt: skip
        environment = os.environ | mlserver_environment("colours", "7") | here
        environment |= {"PYTHONPATH": str(ROOT), "IMAGELOOP_VERIFICATION_KEY": str(keys / "signing.pub")}
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([MLSERVER, "start", folder], env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True)  # fmt: skip
        started.append(process)
        return f"http://127.0.0.1:{port}/v2/models/colours", process, folder / "log"

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)


@pytest.fixture(scope="module")
def v2(start, package, call):
    url, process, log = start(package)
    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        try:
            if call(f"{url}/ready")[0] == 200:
                return url
        except OSError:
            time.sleep(0.1)


def infer(call, url: str, datatype: str, shape: list[int], data: list) -> tuple[int, dict]:
    body = json.dumps({"inputs": [{"name": "image", "datatype": datatype, "shape": shape, "data": data}]}).encode()
    code, text, _ = call(f"{url}/infer", body, "application/json")
    return code, json.loads(text)


def probabilities(answer: dict) -> np.ndarray:
    (found,) = [output for output in answer["outputs"] if output["name"] == "probabilities"]
    return np.reshape(found["data"], found["shape"])


def test_predictions_are_those_of_the_microservice(v2, service, call, colours):
    expected = [
        json.loads(call(f"{service.url}/predict", one, "image/png")[1])["probabilities"] for one in (colours.red, colours.blue)
    ]

    code, answer = infer(call, v2, "BYTES", [2], [base64.b64encode(one).decode() for one in (colours.red, colours.blue)])

    assert (code, answer["model_name"], answer["model_version"]) == (200, "colours", "7")
    np.testing.assert_allclose(probabilities(answer), [list(one.values()) for one in expected], atol=1e-6)
    (labels,) = [output["data"] for output in answer["outputs"] if output["name"] == "labels"]
    assert labels == ["red", "blue"]


def test_base64_in_lines_for_addresses_and_as_data_uri_is_read(v2, call, colours):
    plain = base64.b64encode(colours.red)
    ways = [
        plain,
        base64.encodebytes(colours.red),
        base64.urlsafe_b64encode(colours.red).rstrip(b"="),
        b"data:image/png;base64," + plain,
    ]

    code, answer = infer(call, v2, "BYTES", [len(ways)], [way.decode() for way in ways])

    assert code == 200
    assert [output["data"] for output in answer["outputs"] if output["name"] == "labels"] == [["red"] * len(ways)]


def test_prepared_pixels_are_predicted_unchanged(v2, call, colours, package):
    side = read_info(package).side_pixels
    pixels = preprocess(colours.red, side, Limits(min_side_pixels=8))

    code, answer = infer(call, v2, "UINT8", [1, side, side, 3], pixels.ravel().tolist())

    _, other = infer(call, v2, "BYTES", [1], [base64.b64encode(colours.red).decode()])
    assert code == 200
    np.testing.assert_allclose(probabilities(answer), probabilities(other), atol=1e-6)


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "said"),
    [
        ("BYTES", [1], [base64.b64encode(b"no image").decode()], "not_an_image"),
        ("BYTES", [0], [], "expected 1 to 64 images"),
        ("UINT8", [1, 2, 2, 3], [1] * 12, "expected pixels of shape"),
        ("FP32", [1], [0.5], "expected one input"),
        ("UINT8", [1, 2, 2, 3], [1] * 11, "expected one input"),
        ("UINT8", [1, 2, 2, 3], [300] * 12, "expected one input"),
        ("UINT8", [1, 2, 2, 3], ["a"] * 12, "expected one input"),
        ("BYTES", [1], [1], "expected one input"),
    ],
)
def test_bytes_that_are_no_image_are_refused_with_a_reason(v2, call, datatype, shape, data, said):
    code, answer = infer(call, v2, datatype, shape, data)

    assert code == 400
    assert said in answer["error"]


def test_a_package_that_was_changed_is_not_served(start, make_package):
    changed = make_package()
    (changed / "weights.pt").write_bytes(b"changed")

    _, process, log = start(changed)

    assert process.wait(60) != 0 or "not what was signed" in log.read_text()
    assert "not what was signed" in log.read_text()
