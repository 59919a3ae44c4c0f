"""The routes in this process, on a bare Flask app: what each answers, and what it leaves behind."""

import base64
import json
import signal
import time

import pytest
from flask import Flask
from werkzeug.exceptions import ClientDisconnected

from imageloop.model.onnx_session import GpuLostError
from imageloop.model.package import PackageError
from imageloop.records.record_reader import RecordTail
from imageloop.records.record_types import decode_embedding
from seldon.delivery.clusters.local.replicas import serving_python
from seldon.microservice import ImageClassifier
from seldon.service.prediction_requests import source_of
from seldon.service.request_checks import caller_id
from seldon.service.request_errors import RequestError


@pytest.fixture
def app(model):
    app = Flask("bare")
    app.register_blueprint(model.model_error_handler)

    @app.post("/api/v1.0/predictions")
    def predictions():
        raise ValueError("a secret of the caller")

    return app


@pytest.fixture
def client(app):
    return app.test_client()


def reason(answer) -> str:
    return answer.get_json()["status"]["reason"]


def test_the_model_card_is_shown_and_a_package_without_one_says_so(client, model, monkeypatch, tmp_path):
    card = client.get("/model-card")

    assert (card.mimetype, card.get_data(as_text=True)) == ("text/plain", "# Image classifier of 2 classes\n")
    monkeypatch.setattr(type(model), "folder", tmp_path)
    older = client.get("/model-card")
    assert (older.status_code, reason(older)) == (404, "NO_MODEL_CARD")


@pytest.mark.parametrize("path", ["/predict", "/explain"])
def test_a_gpu_that_is_lost_ends_the_process_and_its_callers_may_repeat(client, model, colours, monkeypatch, path):
    def lost(*_: object) -> None:
        raise GpuLostError("CUDA failure 999: unknown error")

    signals = []
    monkeypatch.setattr("os.kill", lambda _pid, number: signals.append(number))
    for name in ("predict", "explain"):
        monkeypatch.setattr(model.handler.predictor, name, lost)

    answer = client.post(path, data=colours.red, content_type="image/png", headers={"Accept": "application/json"})

    assert (answer.status_code, reason(answer), answer.headers["Retry-After"]) == (503, "GPU_LOST", "1")
    assert signals == [signal.SIGTERM]


def test_an_image_gets_a_prediction_and_a_record(client, colours, tmp_path):
    answer = client.post("/predict", data=colours.red, content_type="image/png", headers={"X-Request-Id": "mine"})

    found = answer.get_json()
    assert (answer.status_code, found["label"], answer.headers["X-Request-Id"]) == (200, "red", "mine")
    assert found["model"] == {"model": "colours", "version": "7", "predictor": "v7", "precision": "fp32"}
    deadline, tail = time.monotonic() + 10, RecordTail(tmp_path / "records")
    records = tail.read()
    while not records and time.monotonic() < deadline:
        time.sleep(0.02)
        records = tail.read()
    assert [(one.request_id, one.caller_id, one.predictor, one.size_bytes) for one in records] == [
        (found["request_id"], "mine", "v7", len(colours.red))
    ]
    (record,) = records
    assert (record.format, record.width, record.height) == ("PNG", 64, 64)
    assert set(record.statistics) == {"brightness", "contrast", "sharpness", "saturation"}
    assert len(decode_embedding(record.embedding)) == 2 * 3  # three features, float16
    assert record.in_distribution is None  # this package holds no known images


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}, TRACE),
        ({"X-Request-Id": "mine", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}, "mine"),
        ({"X-Request-Id": "a name, <script> and an address"}, None),
        ({"traceparent": "nonsense"}, None),
        ({}, None),
    ],
)
def test_a_valid_caller_id_is_recorded(app, headers, expected):
    with app.test_request_context(headers=headers):
        assert caller_id() == expected


def test_feedback_sources_are_distinguished_and_never_named():
    one, other = source_of("http", "alice's key"), source_of("http", "bob's key")

    assert one != other
    assert one == source_of("http", "alice's key")
    assert "alice" not in one
    assert source_of("http", None) == "http"


def test_the_results_of_the_monitor_reach_prometheus(client, tmp_path, monkeypatch):
    assert client.get("/loop").get_json() == {}
    metrics = {"drift_p_value": 0.25, "accuracy": None, "labels": 12}
    loop = {"model": "colours", "version": "7", "action": "nothing", "timestamp": 5.0, "metrics": metrics}
    (tmp_path / "monitor_status.json").write_text(json.dumps(loop))
    monkeypatch.setenv("IMAGELOOP_MONITOR_STATUS", str(tmp_path / "monitor_status.json"))

    text = client.get("/metrics").get_data(as_text=True)

    assert client.get("/loop").get_json() == loop
    assert 'imageloop_drift_p_value{model="colours",version="7"} 0.25' in text
    assert 'imageloop_decision{action="nothing",model="colours",version="7"} 1.0' in text
    assert "imageloop_accuracy{" not in text


def test_a_label_that_cannot_be_stored_is_not_acknowledged(client, model, monkeypatch):
    monkeypatch.setattr(model.handler._writer, "write_through", lambda record: False)

    answer = client.post("/feedback", json={"request_id": "0" * 32, "label": "red"})

    assert (answer.status_code, reason(answer)) == (503, "NOT_KEPT")


@pytest.mark.parametrize(
    ("path", "content", "kind", "code", "why"),
    [
        ("/predict", b"", "image/png", 400, "EMPTY_BODY"),
        ("/predict", b"no image", "image/png", 400, "NOT_AN_IMAGE"),
        ("/predict", b"x", "text/plain", 415, "WRONG_TYPE"),
        ("/explain", b"no image", "image/png", 400, "NOT_AN_IMAGE"),
        ("/explain", b"{}", "application/json", 415, "WRONG_TYPE"),
        ("/feedback", b"x", "text/plain", 415, "WRONG_TYPE"),
        ("/feedback", b"{", "application/json", 400, "NOT_JSON"),
        ("/feedback", b"[]", "application/json", 400, "WRONG_FIELD"),
        ("/api/v1.0/feedback", b"[]", "application/json", 400, "WRONG_FIELD"),
        ("/nowhere", b"", "image/png", 404, "NO_SUCH_ROUTE"),
        ("/predict", bytes(51 * 2**20), "image/png", 413, "TOO_LARGE"),
    ],
)
def test_a_request_that_cannot_be_predicted_is_refused(client, path, content, kind, code, why):
    answer = client.post(path, data=content, content_type=kind)

    assert (answer.status_code, reason(answer)) == (code, why)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_an_explanation_comes_in_two_forms(client, colours):
    numbers = client.post("/explain", data=colours.blue, content_type="image/png")
    drawn = client.post("/explain", data=colours.blue, content_type="image/png", headers={"Accept": "image/png"})

    assert numbers.get_json()["label"] == "blue"
    assert drawn.data.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/feedback", {"request_id": "a" * 32, "label": "red"}),
        ("/api/v1.0/feedback", {"response": {"meta": {"puid": "a" * 32}}, "truth": {"strData": "other"}}),
        ("/api/v1.0/feedback", {"response": {"meta": {"puid": "a" * 32}}, "truth": {"jsonData": {"label": "blue"}}}),
        ("/api/v1.0/feedback", {"response": {"meta": {"puid": "a" * 32 + ".1"}}, "truth": {"data": {"ndarray": ["blue"]}}}),
    ],
)
def test_ground_truth_is_accepted_in_each_form(client, path, message):
    as_json = client.post(path, json=message)
    as_form = client.post(path, data={"json": json.dumps(message)})

    assert (as_json.status_code, as_form.status_code) == (200, 200)


def test_the_pages_and_documents_are_there(client):
    for path, kind in (("/", "text/html"), ("/page.js", "text/javascript"), ("/page.css", "text/css"), ("/docs", "text/html")):
        assert client.get(path, buffered=True).mimetype == kind
    assert client.get("/openapi.json").get_json()["info"]["title"] == "ImageLoop: colours"
    assert b"imageloop_model_info" in client.get("/metrics").data


def test_another_method_or_origin_is_refused(client):
    assert client.get("/predict").status_code == 405
    refused = client.delete("/metrics")
    assert (refused.status_code, "GET" in refused.headers["Allow"]) == (405, True)
    assert client.post("/feedback", json={}, headers={"Origin": "http://evil.example"}).status_code == 403
    assert client.post("/feedback", json={}, headers={"Origin": "http://localhost"}).status_code == 400


def test_an_origin_that_is_configured_may_call(client, colours, monkeypatch):
    monkeypatch.setenv("IMAGELOOP_ORIGINS", "https://app.example https://other.example")

    answer = client.post("/predict", data=colours.red, content_type="image/png", headers={"Origin": "https://app.example"})

    assert answer.status_code == 200


def test_when_all_slots_are_taken_the_next_request_gets_a_retry_after(client, model, colours, monkeypatch):
    monkeypatch.setattr(model.handler, "admission", type(model.handler.admission)(at_work=1, waiting=0))

    with model.handler.admission.admitted():
        refused = client.post("/predict", data=colours.red, content_type="image/png")
    served = client.post("/predict", data=colours.red, content_type="image/png")

    assert (refused.status_code, reason(refused), refused.headers["Retry-After"]) == (503, "FULL", "1")
    assert served.status_code == 200


def test_an_internal_error_does_not_repeat_the_request(client, caplog):
    answer = client.post("/api/v1.0/predictions", json={"binData": ""})

    assert (answer.status_code, reason(answer)) == (500, "INTERNAL")
    assert "secret" not in answer.text + caplog.text
    assert "test_routes.py" in caplog.text


@pytest.mark.parametrize("error", [TimeoutError(), ClientDisconnected()])
def test_a_body_that_stops_coming_is_a_408(client, model, monkeypatch, error):
    def stop(*_, **__):
        raise error

    monkeypatch.setattr(model.handler, "submit", stop)

    assert client.post("/predict", data=b"x", content_type="image/png").status_code == 408


def test_before_it_is_loaded_it_is_not_ready(package, keys, monkeypatch):
    monkeypatch.setenv("IMAGELOOP_VERIFICATION_KEY", str(keys / "signing.pub"))
    model = ImageClassifier(f"file://{package}")

    with pytest.raises(RequestError, match="not loaded yet"):
        model.health_status()
    assert model.init_metadata()["versions"] == ["0"]


def test_a_loaded_one_is_ready(model):
    assert model.health_status() == ["7"]
    assert (model.model_name, model.metrics_label) == ("colours", "v7")


def test_another_key_is_refused_before_anything_is_opened(package, tmp_path, monkeypatch):
    from imageloop.model.signing import private_key

    private_key(tmp_path)
    monkeypatch.setenv("IMAGELOOP_VERIFICATION_KEY", str(tmp_path / "signing.pub"))

    with pytest.raises(PackageError):
        ImageClassifier(str(package))


def test_a_list_of_encoded_images_is_predicted_on_the_short_route(service, call, colours):
    images = [base64.b64encode(content).decode() for content in (colours.red, colours.blue)]
    code, body, _ = call(f"{service.url}/predict", json.dumps({"images": images}).encode(), "application/json")
    found = json.loads(body)

    assert code == 200
    assert [one["label"] for one in found["predictions"]] == ["red", "blue"]
    assert {"request_id", "probability", "probabilities", "in_distribution"} <= found["predictions"][0].keys()
    assert found["model"]["model"]


@pytest.mark.parametrize(
    ("images", "code", "words"),
    [
        ([], 422, "expected a list of 1 to 64 images in images, got 0"),
        ("abc", 422, "got str"),
        (["%"], 400, "expected base64 in images[0]"),
        ([7], 400, "expected base64 in images[0], got int"),
    ],
)
def test_a_wrong_list_of_images_is_refused_with_what_was_found(service, call, images, code, words):
    found, body, _ = call(f"{service.url}/predict", json.dumps({"images": images}).encode(), "application/json")

    assert found == code
    assert words in json.loads(body)["status"]["info"]


def test_an_unknown_route_is_named(service, call):
    code, body, _ = call(f"{service.url}/predictions")

    assert code == 404
    assert "got '/predictions'" in json.loads(body)["status"]["info"]


def test_metrics_say_what_the_processes_of_a_replica_take(start_service, package, call):
    service = start_service([str(serving_python()), "-m", "seldon.launcher"], package, GUNICORN_WORKERS="2")

    text = call(f"{service.url}/metrics")[1].decode()

    for name in ("process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds", "process_max_fds"):
        assert {f'{name}{{worker="{number}"}}' in text for number in (0, 1)} == {True}, name
    memory = [float(line.split()[1]) for line in text.splitlines() if line.startswith("process_resident_memory_bytes{")]
    assert all(5e7 < value < 1e9 for value in memory)
    assert "imageloop_price_per_gib_hour" in text
