"""Every bad request that we could think of, against the real service."""

import base64
import io
import json
import socket
import time
import zlib

import numpy as np
import psutil
import pytest
from PIL import Image

from seldon.delivery.clusters.local.replicas import serving_python
from seldon.delivery.rollouts.observations import read_counters

pytestmark = pytest.mark.xdist_group("service")
SEPARATOR = b"--b"
IN_FLIGHT = b'imageloop_in_flight{predictor="default",route="/predict"}'


def form(field: str, content: bytes) -> tuple[bytes, str]:
    head = f'Content-Disposition: form-data; name="{field}"; filename="a.jpg"\r\n\r\n'.encode()
    return SEPARATOR + b"\r\n" + head + content + b"\r\n" + SEPARATOR + b"--\r\n", "multipart/form-data; boundary=b"


def text_form(field: str, content: bytes) -> tuple[bytes, str]:
    head = f'Content-Disposition: form-data; name="{field}"\r\n\r\n'.encode()
    return SEPARATOR + b"\r\n" + head + content + b"\r\n" + SEPARATOR + b"--\r\n", "multipart/form-data; boundary=b"


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def bomb() -> bytes:
    """A PNG that says 20,000 x 20,000 and holds next to nothing."""
    small = bytearray(encoded(Image.new("RGB", (1, 1)), "PNG"))
    small[16:24] = (20000).to_bytes(4, "big") * 2
    small[29:33] = zlib.crc32(bytes(small[12:29])).to_bytes(4, "big")
    return bytes(small)


NOISE = np.random.default_rng(0).integers(0, 255, (200, 200, 3)).astype(np.uint8)
JPEG = encoded(Image.fromarray(NOISE), "JPEG")
BAD_IMAGES = [
    pytest.param(b"", 400, "EMPTY_BODY", id="nothing"),
    pytest.param(b"this is no image", 400, "NOT_AN_IMAGE", id="text"),
    pytest.param(JPEG[: len(JPEG) // 2], 400, "DAMAGED", id="truncated"),
    pytest.param(bomb(), 422, "TOO_MANY_PIXELS", id="bomb"),
    pytest.param(b"\xff\xd8" + bytes(52 * 2**20), 413, "TOO_LARGE", id="52 MB"),
    pytest.param(encoded(Image.new("RGB", (1, 1)), "PNG"), 422, "TOO_SMALL", id="one pixel"),
    pytest.param(b"P3 1000 700 255\n" + b"#\n" * 200_000, 415, "UNSUPPORTED_FORMAT", id="an image as text"),
]


@pytest.mark.parametrize(("content", "code", "reason"), BAD_IMAGES)
def test_a_bad_image_is_refused_with_its_reason_by_both_routes(service, call, content, code, reason):
    found = {
        "raw": call(f"{service.url}/predict", content, "image/jpeg"),
        "explain": call(f"{service.url}/explain", content, "image/jpeg"),
    }
    if len(content) < 2**20:
        message = json.dumps({"binData": base64.b64encode(content).decode()}).encode()
        found["seldon"] = call(f"{service.url}/api/v1.0/predictions", message, "application/json")
        found["form"] = call(f"{service.url}/api/v1.0/predictions", *form("binData", content))

    for way, (status, body, _) in found.items():
        error = json.loads(body)["status"]
        assert (status, error["code"], error["status"]) == (code, code, "FAILURE"), way
        assert error["reason"] in (reason, "NOT_AN_IMAGE"), way


GOOD_IMAGES = {
    "CMYK": encoded(Image.fromarray(NOISE).convert("CMYK"), "JPEG"),
    "RGBA": encoded(Image.fromarray(NOISE).convert("RGBA"), "PNG"),
    "animated GIF": encoded(Image.fromarray(NOISE), "GIF", save_all=True, append_images=[Image.new("RGB", (200, 200))]),
    "16 bit": encoded(Image.fromarray(NOISE[..., 0].astype(np.uint16) * 257), "PNG"),
    "WebP": encoded(Image.fromarray(NOISE), "WEBP"),
}


@pytest.mark.parametrize("kind", GOOD_IMAGES)
def test_unusual_images_are_predicted(service, call, kind):
    status, body, _ = call(f"{service.url}/predict", GOOD_IMAGES[kind], "application/octet-stream")

    assert status == 200
    assert sum(json.loads(body)["probabilities"].values()) == pytest.approx(1, abs=1e-5)


BAD_MESSAGES = [
    pytest.param("/predict", b"x", "text/plain", 415, "WRONG_TYPE", id="wrong type"),
    pytest.param("/predict", JPEG, "application/x-www-form-urlencoded", 415, "WRONG_TYPE", id="curl without a type"),
    pytest.param("/api/v1.0/predictions", JPEG, "image/jpeg", 415, "WRONG_TYPE", id="an image for Seldon's route"),
    pytest.param("/api/v1.0/predictions", b'{"image": 1}', "application/json", 400, "WRONG_FIELD", id="wrong field"),
    pytest.param("/api/v1.0/predictions", b"[1]", "application/json", 400, "WRONG_FIELD", id="a list"),
    pytest.param("/api/v1.0/predictions", b"{", "application/json", 400, "NOT_JSON", id="half a document"),
    pytest.param("/api/v1.0/predictions", b"[" * 100_000, "application/json", 400, "NOT_JSON", id="deep"),
    pytest.param("/api/v1.0/predictions", b'{"binData": 1}', "application/json", 400, "WRONG_FIELD", id="a number for bytes"),
    pytest.param("/api/v1.0/predictions", b'{"data": {"ndarray": [[1]]}}', "application/json", 422, "WRONG_SHAPE", id="wrong shape"),
    pytest.param("/api/v1.0/predictions", b'{"data": {"ndarray": ["a", [1]]}}', "application/json", 400, "WRONG_FIELD", id="no array"),
    pytest.param("/api/v1.0/predictions", *form("image", JPEG), 400, "WRONG_FIELD", id="wrong form field"),
    pytest.param("/feedback", b'{"request_id": "x", "label": "red"}', "application/json", 422, "UNKNOWN_REQUEST", id="no request id"),
    pytest.param("/feedback", b'{"request_id": "' + b"a" * 32 + b'", "label": "green"}', "application/json", 422, "UNKNOWN_LABEL", id="no label"),
    pytest.param("/api/v1.0/feedback", b"{}", "application/json", 400, "WRONG_FIELD", id="empty feedback"),
    pytest.param("/api/v1.0/feedback", b'{"response": 1, "truth": "x"}', "application/json", 400, "WRONG_FIELD", id="odd feedback"),
    pytest.param("/api/v1.0/predictions", b"a&" * 2**20, "application/x-www-form-urlencoded", 415, "WRONG_TYPE", id="a form of nothing"),
    pytest.param("/feedback", b"a&" * 2**20, "application/x-www-form-urlencoded", 415, "WRONG_TYPE", id="feedback of nothing"),
    pytest.param("/api/v1.0/predictions", *text_form("data", b"[[]," + b"[]," * 100_000 + b"[]]"), 400, "NOT_JSON", id="a form of brackets"),
    pytest.param("/api/v1.0/predictions", *text_form("data", b"[" * 900 + b"x" * 200_000), 400, "WRONG_FIELD", id="a form's text"),
    pytest.param("/nothing", b"{}", "application/json", 404, "NO_SUCH_ROUTE", id="no route"),
    pytest.param("/transform-input", b"{}", "application/json", 404, "NO_SUCH_ROUTE", id="a route of Seldon's that is not ours"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "content_type", "code", "reason"), BAD_MESSAGES)
def test_a_bad_message_is_refused_with_its_reason(service, call, path, body, content_type, code, reason):
    status, answer, _ = call(f"{service.url}{path}", body, content_type)

    assert (status, json.loads(answer)["status"]["reason"]) == (code, reason)


@pytest.mark.parametrize("path", ["/predict", "/explain", "/feedback", "/api/v1.0/predictions"])
def test_another_method_is_refused(service, call, path):
    status, _, headers = call(f"{service.url}{path}", method="GET")

    assert status == 405
    assert "POST" in headers["Allow"]


def test_another_origin_is_refused(service, call):
    responses = [call(f"{service.url}{path}", Origin="http://evil.example")[2] for path in ("/metadata", "/nothing")]

    error = call(f"{service.url}/feedback", b"json={}", "application/x-www-form-urlencoded", Origin="http://evil.example")
    own = call(f"{service.url}/metadata", Origin=service.url)

    assert not [name for headers in responses for name in headers if name.lower().startswith("access-control")]
    assert (error[0], own[0]) == (403, 200)


def test_a_thousand_bad_requests_leave_memory_flat_and_nothing_in_the_logs(service, call):
    worker = psutil.Process(service.process.pid).children()[0]
    secret = b"a secret that is no image, " * 3
    for _ in range(100):
        call(f"{service.url}/predict", secret, "image/jpeg")
    before = worker.memory_info().rss

    codes = {call(f"{service.url}/predict", secret + str(n).encode(), "image/jpeg")[0] for n in range(1000)}

    assert codes == {400}
    assert worker.memory_info().rss - before < 30 * 2**20
    assert b"secret" not in service.log.read_bytes()
    assert call(f"{service.url}/predict", JPEG, "image/jpeg")[0] == 200


def test_a_silent_upload_times_out_and_others_are_served_meanwhile(service, call):
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: 100000\r\n\r\n"
    silent = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(5)]
    for connection in silent:
        connection.sendall(head + b"\xff\xd8")
    time.sleep(0.3)

    assert call(f"{service.url}/predict", JPEG, "image/jpeg")[0] == 200
    for connection in silent:
        connection.settimeout(30)
        assert b"408" in connection.recv(100)
        connection.close()


def test_half_closed_connections_do_no_harm(service, call, eventually):
    for _ in range(20):
        connection = socket.create_connection(("127.0.0.1", service.port))
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: 1000\r\n\r\nabc")
        connection.shutdown(socket.SHUT_WR)
        connection.close()

    assert call(f"{service.url}/predict", JPEG, "image/jpeg")[0] == 200
    assert eventually(lambda: IN_FLIGHT + b" 0.0" in call(f"{service.url}/metrics")[1])
    assert b'code="499"' in call(f"{service.url}/metrics")[1]
    assert b"ERROR" not in service.log.read_bytes()


def test_requests_of_a_dead_worker_count_as_failed(start_service, package, call, eventually):
    """Or a version that crashes on some images would have nothing against it: nobody else counts what is never answered."""
    service = start_service([str(serving_python()), "-m", "seldon.launcher"], package, GUNICORN_WORKERS="2")
    before = call(f"{service.url}/metrics")[1]
    with socket.create_connection(("127.0.0.1", service.port)) as waiting:
        waiting.sendall(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: 100000\r\n\r\n\xff\xd8"
        )
        assert eventually(lambda: IN_FLIGHT + b" 1.0" in call(f"{service.url}/metrics")[1])
        for worker in psutil.Process(service.process.pid).children():
            worker.kill()
        assert eventually(lambda: call(f"{service.url}/predict", JPEG, "image/jpeg")[0] == 200)

    def since() -> tuple[float, float, float]:
        after = read_counters(call(f"{service.url}/metrics")[1].decode()).since(read_counters(before.decode()))
        return after.requests, after.errors, after.turned_away

    # Gunicorn may notice the death of a worker up to a second after another one responses.
    assert eventually(lambda: since() == (2, 1, 0)), since()
    assert IN_FLIGHT + b" 1.0" not in call(f"{service.url}/metrics")[1]


def test_overload_is_refused_at_once(start_service, make_package, load):
    slow = make_package(work=1200, examples=False)
    service = start_service([str(serving_python()), "-m", "seldon.launcher"], slow, IMAGELOOP_MAX_WAITING="2")

    with load(service.url, clients=16) as callers:
        callers.wait_for(300)

    assert set(callers.codes) == {200, 503}
    assert "FULL" in callers.failures[0]
