"""The short way of a prediction and Seldon's app: they respond alike, to every kind of request."""

import base64
import http.client
import io
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from imageloop.model.predictor import Predictor
from seldon.delivery.clusters.local.replicas import serving_python

pytestmark = pytest.mark.xdist_group("service")
OF_EACH_REQUEST = ("request_id", "puid", "request_ids", "milliseconds")
VARYING_HEADERS = ("date", "x-request-id", "vary")  # the last is for the origin alone


def file(kind: str, side: int = 64, **options) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(3).integers(0, 255, (side, side, 3), np.uint8)).save(out, kind, **options)
    return out.getvalue()


JPEG = file("JPEG")
TEXT = base64.b64encode(JPEG).decode()
PIXELS = np.full((32, 32, 3), 7).tolist()
SELDON = "/api/v1.0/predictions"
REQUESTS = {
    "a JPEG": ("/predict", JPEG, "image/jpeg"),
    "a PNG as bytes": ("/predict", file("PNG"), "application/octet-stream"),
    "a type with a parameter": ("/predict", JPEG, "image/jpeg; charset=binary"),
    "a WebP": ("/predict", file("WEBP"), "image/webp"),
    "no image": ("/predict", b"no image", "image/jpeg"),
    "half an image": ("/predict", JPEG[: len(JPEG) // 2], "image/jpeg"),
    "a small image": ("/predict", file("PNG", side=4), "image/png"),
    "nothing": ("/predict", b"", "image/jpeg"),
    "text": ("/predict", b"x", "text/plain"),
    "a list on /predict": ("/predict", json.dumps({"images": [TEXT, TEXT]}).encode(), "application/json"),
    "a Seldon message on /predict": ("/predict", json.dumps({"binData": TEXT}).encode(), "application/json"),
    "binData": (SELDON, json.dumps({"binData": TEXT}).encode(), "application/json"),
    "the older path": ("/api/v0.1/predictions", json.dumps({"binData": TEXT}).encode(), "application/json"),
    "jsonData": (SELDON, json.dumps({"jsonData": {"images": [TEXT] * 3}}).encode(), "application/json"),
    "pixels": (SELDON, json.dumps({"data": {"ndarray": PIXELS}}).encode(), "application/json"),
    "too many images": (SELDON, json.dumps({"jsonData": {"images": [TEXT] * 65}}).encode(), "application/json"),
    "one bad image of three": (SELDON, json.dumps({"jsonData": {"images": [TEXT, "eA==", TEXT]}}).encode(), "application/json"),
    "no JSON": (SELDON, b"{", "application/json"),
    "a list": (SELDON, b"[1]", "application/json"),
    "brackets": (SELDON, b"[" * 100_000, "application/json"),
    "an unknown field": (SELDON, b'{"image": 1}', "application/json"),
    "an image on Seldon's path": (SELDON, JPEG, "image/jpeg"),
}


def without_ids(value):
    """A response without what differs from request to request."""
    if isinstance(value, dict):
        return {name: without_ids(part) for name, part in value.items() if name not in OF_EACH_REQUEST}
    return [without_ids(part) for part in value] if isinstance(value, list) else value


@pytest.mark.parametrize("kind", REQUESTS)
@pytest.mark.parametrize("headers", [{}, {"X_Request_Id": "mine"}, {"X_Request_Id": "not valid", "X_Client": "someone"}])
def test_both_ways_respond_alike(service, call, kind, headers):
    """The header `Origin` of the service's own page leads to Seldon's app."""
    path, body, content_type = REQUESTS[kind]

    short = call(f"{service.url}{path}", body, content_type, **headers)
    whole = call(f"{service.url}{path}", body, content_type, Origin=service.url, **headers)

    assert short[0] == whole[0]
    assert without_ids(json.loads(short[1])) == without_ids(json.loads(whole[1]))
    assert short[2].get("X-Request-Id") == whole[2].get("X-Request-Id")
    names = [sorted(name.lower() for name in answer[2] if name.lower() not in VARYING_HEADERS) for answer in (short, whole)]
    assert names[0] == names[1]


def test_callers_at_once_get_their_own_predictions(service, package, colours):
    expected = Predictor.unsigned(package, threads=1).predict(colours.images).probabilities

    def ask(caller: int) -> list[float]:
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
        errors = []
        for round_ in range(8):
            index = (caller * 7 + round_ * 3) % len(colours.images)
            connection.request("POST", "/predict", colours.images[index], {"Content-Type": "image/jpeg"})
            answer = connection.getresponse()
            body = json.loads(answer.read())
            if answer.status == 503:  # more callers than may wait
                continue
            errors.append(abs(body["probabilities"]["red"] - float(expected[index][0])))
        connection.close()
        return errors

    with ThreadPoolExecutor(64) as pool:
        errors = [error for found in pool.map(ask, range(64)) for error in found]

    assert len(errors) > 100
    assert max(errors) < 1e-5


def test_a_body_in_chunks_is_read(service):
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
    connection.request("POST", "/predict", iter([JPEG[:500], JPEG[500:]]), {"Content-Type": "image/jpeg"}, encode_chunked=True)

    assert connection.getresponse().status == 200
    connection.close()


def test_a_thousand_idle_connections_hinder_nobody(service, call):
    idle = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(1000)]
    try:
        assert call(f"{service.url}/predict", JPEG, "image/jpeg")[0] == 200
        assert call(f"{service.url}/health/status")[0] == 200
    finally:
        for connection in idle:
            connection.close()


def test_an_ending_service_answers_what_it_has_and_waits_for_no_idle_connection(start_service, make_package, eventually):
    slow = make_package(work=1500, examples=False)
    service = start_service([str(serving_python()), "-m", "seldon.launcher"], slow)
    idle = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
    idle.request("GET", "/health/status")
    idle.getresponse().read()
    codes: list[int] = []

    def ask() -> None:
        asking = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
        asking.request("POST", "/predict", JPEG, {"Content-Type": "image/jpeg"})
        codes.append(asking.getresponse().status)
        asking.close()

    callers = [threading.Thread(target=ask) for _ in range(6)]
    for caller in callers:
        caller.start()

    def in_flight() -> bool:
        idle.request("GET", "/metrics")
        return b'imageloop_in_flight{predictor="default",route="/predict"} 6.0' in idle.getresponse().read()

    assert eventually(in_flight)
    service.process.terminate()
    for caller in callers:
        caller.join(30)
    idle.close()

    assert codes == [200] * 6
    assert service.process.wait(5) == 0


def test_a_terminating_service_serves_until_a_cluster_sends_elsewhere(start_service, package, call, eventually):
    """Endpoints are updated some time after a pod got its signal, and until then it still gets requests."""
    service = start_service([str(serving_python()), "-m", "seldon.launcher"], package, IMAGELOOP_DRAIN_SECONDS="3")
    service.process.terminate()

    assert eventually(lambda: call(f"{service.url}/health/status")[0] == 503, seconds=2)
    found = [call(f"{service.url}/predict", JPEG, "image/jpeg")[0] for _ in range(20)]

    assert found == [200] * 20
    assert call(f"{service.url}/health/ping")[0] == 200
    assert service.process.wait(10) == 0
