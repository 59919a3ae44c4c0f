"""Small signed packages, real services, real clusters, and callers who never stop asking."""

import http.client
import http.server
import io
import json
import os
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from imageloop.model.package import EXACT_MODEL, INPUT, MODEL_CARD, OUTPUTS, REFERENCE, WEIGHTS, PackageInfo
from imageloop.model.predictor import Predictor
from imageloop.model.signing import private_key, sign
from imageloop.model.smoke_test_images import Example, write_examples
from imageloop.model.test_images import TestImage, write_test_images
from seldon.delivery.clusters.local.gateway_settings import GatewaySettings
from seldon.delivery.clusters.local.local_cluster import LocalCluster
from seldon.delivery.clusters.local.replicas import serving_python
from seldon.delivery.clusters.local.site_folders import free_port
from seldon.delivery.render_manifest import render_predictor
from seldon.service.rollout_requests import SALT_VARIABLE
from tests.fakes.kubernetes.api_server import SCHEMA
from tests.seldon.otlp_receiver import Receiver

ROOT = Path(__file__).parents[2]
SIDE = 32


def image(red: int, blue: int, side: int = 64, kind: str = "PNG", seed: int = 0) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 20, (side, side, 3))
    out = io.BytesIO()
    Image.fromarray((np.array([red, 60, blue]) + noise).clip(0, 255).astype(np.uint8)).save(out, kind)
    return out.getvalue()


IMAGES = [image(200, 40, seed=n, kind="JPEG") if n % 2 else image(40, 200, seed=n, kind="JPEG") for n in range(40)]


def red_or_blue(bias: float, work: int, side: int) -> onnx.ModelProto:
    """Says which colour is stronger; `bias` leans to red, `work` is the side of matrices that are multiplied for nothing."""
    weight = numpy_helper.from_array(np.array([[0.1, -0.1], [0, 0], [-0.1, 0.1]], np.float32), "weight")
    leaning = numpy_helper.from_array(np.array([bias, 0], np.float32), "bias")
    constants = [weight, leaning]
    nodes = [
        helper.make_node("Cast", [INPUT], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["pixels"], ["channels"], perm=[0, 3, 1, 2]),
        helper.make_node("ReduceMean", ["channels"], ["embedding"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["embedding", "weight"], ["scores"]),
        helper.make_node("Add", ["scores", "bias"], ["logits"]),
        helper.make_node("AveragePool", ["channels"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Slice", ["pooled", "zero", "two", "one"], ["activation_map"]),
    ]
    constants += [numpy_helper.from_array(np.array([value]), name) for name, value in (("zero", 0), ("one", 1), ("two", 2))]
    last = "logits"
    if work:
        big = numpy_helper.from_array(np.full((work, work), 1e-9, np.float32), "big")
        nothing = numpy_helper.from_array(np.array(0, np.float32), "nothing")
        nodes += [
            helper.make_node("ReduceMean", ["logits"], ["level"], axes=[0, 1], keepdims=0),
            helper.make_node("Mul", ["big", "level"], ["seeded"]),
            helper.make_node("MatMul", ["seeded", "big"], ["toil"]),
            helper.make_node("ReduceMean", ["toil"], ["sweat"], keepdims=0),
            helper.make_node("Mul", ["sweat", "nothing"], ["dust"]),
            helper.make_node("Add", ["logits", "dust"], ["heavy"]),
        ]
        constants += [big, nothing]
        last = "heavy"
    nodes.append(helper.make_node("Softmax", [last], ["probabilities"], axis=1))
    shapes = {"probabilities": ["n", 2], "embedding": ["n", 3], "activation_map": ["n", 2, side // 8, side // 8]}
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name]) for name in OUTPUTS]
    images = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["n", side, side, 3])
    graph = helper.make_graph(nodes, "red_or_blue", [images], outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.fixture(scope="session")
def eventually():
    """Whether a condition comes true in a while: eventually(lambda: ..., seconds=10)."""

    def wait(condition, seconds: float = 10) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if condition():
                return True
            time.sleep(0.05)
        return False

    return wait


@pytest.fixture(scope="session")
def crd() -> dict:
    """The operator's own schema."""
    return json.loads(SCHEMA.read_text())


@pytest.fixture(scope="session")
def keys(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    private_key(folder)
    return folder


@pytest.fixture(scope="session")
def make_package(tmp_path_factory, keys):
    """A signed package: make_package(bias=0, work=0, side_of_model=32, examples=True); `examples`: smoke-test and test images."""

    def make(
        bias: float = 0.0,
        work: int = 0,
        side_of_model: int = SIDE,
        examples: bool = True,
        side: int = SIDE,
        class_names: tuple[str, ...] = ("red", "blue"),
    ) -> Path:
        folder = tmp_path_factory.mktemp("package")
        onnx.save(red_or_blue(bias, work, side_of_model), folder / EXACT_MODEL)
        (folder / WEIGHTS).write_bytes(b"weights")
        (folder / REFERENCE).write_bytes(b"reference")
        (folder / MODEL_CARD).write_text("# Image classifier of 2 classes\n")
        info = PackageInfo(
            class_names=list(class_names), side_pixels=side, preprocessing_version="1", model_kind="test", backbone="none", temperature=1.0,
            seed=1, data_version="d1", git_commit="none", run_id="r1", created_at=datetime.now(UTC),
        )  # fmt: skip
        info.write(folder)
        if examples:
            predictor = Predictor.unsigned(folder, threads=1)
            known = [("red", image(200, 40)), ("blue", image(40, 200))]
            predictions = [(label, content, predictor.predict([content])) for label, content in known]
            write_examples(
                folder, [Example(label, float(a.probabilities[0].max()), content) for label, content, a in predictions]
            )
            labelled = list(zip(["blue", "red"] * (len(IMAGES) // 2), IMAGES, predictor.predict(IMAGES).labels, strict=True))
            write_test_images(
                folder, [TestImage(sha256(content).hexdigest(), label, label == a, content) for label, content, a in labelled]
            )
        sign(folder, private_key(keys))
        return folder

    return make


@pytest.fixture(scope="session")
def package(make_package) -> Path:
    return make_package()


@pytest.fixture(scope="session")
def predictor_spec(package):
    """predictor_spec("2", folder, replicas=1, traffic=10)."""

    def make(version: str = "1", folder: Path = package, replicas: int = 1, traffic: int = 100, **options):
        return render_predictor(
            version=version, model_name="colours", model_uri=f"file://{folder}", replicas=replicas, traffic=traffic, **options
        )

    return make


@pytest.fixture(scope="session")
def make_cluster(tmp_path_factory, keys):
    """Clusters that are stopped when the tests end."""
    made = []

    def make(port: int = 0, **gateway) -> LocalCluster:
        environment = {"IMAGELOOP_VERIFICATION_KEY": str(keys / "signing.pub"), SALT_VARIABLE: "a secret of the tests"}
        settings = GatewaySettings(port=port, **gateway)
        made.append(LocalCluster(tmp_path_factory.mktemp("serving"), settings, serving_python(), environment))
        return made[-1]

    yield make
    for cluster in made:
        cluster.stop()


@pytest.fixture
def cluster(make_cluster) -> LocalCluster:
    made = make_cluster()
    yield made
    made.stop()


class Load:
    """`clients` threads that send images to /predict, one after the other, and count what comes back."""

    def __init__(self, url: str, clients: int = 4) -> None:
        self._url = urlsplit(url)
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(number,), daemon=True) for number in range(clients)]
        self._lock = threading.Lock()
        self.codes: Counter[object] = Counter()
        self.predictors: Counter[str] = Counter()
        self.failures: list[str] = []

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stopped.set()
        for thread in self._threads:
            thread.join(60)

    @property
    def failed(self) -> int:
        return sum(count for code, count in self.codes.items() if code != 200)

    def wait_for(self, requests: int, seconds: float = 60) -> None:
        expected, deadline = sum(self.codes.values()) + requests, time.monotonic() + seconds
        while sum(self.codes.values()) < expected:
            assert time.monotonic() < deadline, f"only {sum(self.codes.values())} predictions"
            time.sleep(0.02)

    def _call(self, number: int) -> None:
        connection = None
        while not self._stopped.is_set():
            number += 1
            try:
                connection = connection or http.client.HTTPConnection(self._url.hostname, self._url.port, timeout=60)
                content = IMAGES[number % len(IMAGES)]
                connection.request("POST", f"{self._url.path}/predict", content, {"Content-Type": "image/jpeg"})
                answer = connection.getresponse()
                body = answer.read()
                code: object = answer.status
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                code, body, connection = repr(error), b"", None
                time.sleep(0.05)
            with self._lock:
                self.codes[code] += 1
                if code == 200:
                    self.predictors[json.loads(body)["model"]["predictor"]] += 1
                else:
                    self.failures.append(f"{code}: {body[:200]!r}")
            time.sleep(0.03)
        if connection is not None:
            connection.close()


@pytest.fixture
def load():
    return Load


@pytest.fixture(scope="session")
def colours():
    return SimpleNamespace(image=image, images=IMAGES, red=image(200, 40), blue=image(40, 200))


def send(url: str, data: bytes | None = None, content_type: str | None = None, method: str | None = None, **headers: str):
    """(code, body, headers) of one request."""
    request = urllib.request.Request(url, data=data, method=method, headers={k.replace("_", "-"): v for k, v in headers.items()})
    if content_type:
        request.add_header("Content-Type", content_type)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers


@pytest.fixture(scope="session")
def call():
    return send


@pytest.fixture(scope="session")
def start_service(tmp_path_factory, keys):
    """Start a service's command in the serving environment; wait until it is ready. start_service(command, package, **environment)."""
    started = []

    def start(command: list[str], package: Path, wait: bool = True, **environment: str):
        home, port = tmp_path_factory.mktemp("service"), free_port()
        parameters = [("model_uri", str(package)), ("model_name", "colours"), ("model_version", "7")]
        given = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("COV", "PYTEST"))},
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home),
            "PYTHONPATH": str(ROOT),
            "PROMETHEUS_MULTIPROC_DIR": str(home / "metrics"),
            "PREDICTIVE_UNIT_HTTP_SERVICE_PORT": str(port),
            "PREDICTIVE_UNIT_METRICS_SERVICE_PORT": str(free_port()),
            "PREDICTIVE_UNIT_PARAMETERS": json.dumps([{"name": n, "value": v, "type": "STRING"} for n, v in parameters]),
            "IMAGELOOP_VERIFICATION_KEY": str(keys / "signing.pub"),
            "IMAGELOOP_RECORDS": str(home / "records"),
            "IMAGELOOP_MONITOR_STATUS": str(home / "monitor_status.json"),
            "GUNICORN_WORKERS": "1",
            **environment,
        }
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(
                command, env=given, cwd=ROOT, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        service = SimpleNamespace(
            url=f"http://127.0.0.1:{port}", port=port, process=process, home=home, log=home / "log", records=home / "records"
        )
        started.append(service)
        deadline = time.monotonic() + 60
        while wait:
            assert process.poll() is None, service.log.read_text()
            assert time.monotonic() < deadline, service.log.read_text()
            try:
                if send(f"{service.url}/health/status")[0] == 200:
                    break
            except OSError:
                time.sleep(0.05)
        return service

    yield start
    for service in started:
        if service.process.poll() is None:
            service.process.terminate()
            try:
                service.process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(service.process.pid, 9)
                service.process.wait(10)


@pytest.fixture(scope="session")
def service(start_service, package):
    return start_service([str(serving_python()), "-m", "seldon.launcher"], package)


@pytest.fixture
def receiver():
    Receiver.spans, Receiver.logs = [], []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def model(package, keys, tmp_path, monkeypatch):
    """The model of a service, loaded in this process."""
    from seldon.microservice import ImageClassifier

    monkeypatch.setenv("IMAGELOOP_VERIFICATION_KEY", str(keys / "signing.pub"))
    monkeypatch.setenv("IMAGELOOP_RECORDS", str(tmp_path / "records"))
    monkeypatch.setenv("PREDICTOR_ID", "v7")
    model = ImageClassifier(str(package), "colours", "7")
    model.load()
    return model
