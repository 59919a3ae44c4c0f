"""Callers who stall: they hold a connection, and neither a thread that others need nor the service's end."""

import contextlib
import http.client
import json
import socket
import time

import pytest

from seldon.delivery.clusters.local.replicas import serving_python
from seldon.service.body_size_limit import MAX_BODY_BYTES

pytestmark = pytest.mark.xdist_group("service")
NUM_CALLERS = 45  # more than the service has threads for what is no plain prediction


@pytest.fixture
def service(start_service, package):
    return start_service([str(serving_python()), "-m", "seldon.launcher"], package)


def connect(service) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(20)
    connection.connect(("127.0.0.1", service.port))
    return connection


def test_downloads_that_nobody_reads_hold_up_neither_health_checks_nor_the_end(service, call, eventually):
    request = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n"
    stalled = [connect(service) for _ in range(NUM_CALLERS)]
    for connection in stalled:
        connection.sendall(request * 12)
    time.sleep(1)

    assert [call(f"{service.url}{path}")[0] for path in ("/health/ping", "/health/status", "/metrics")] == [200] * 3
    for connection in stalled:
        connection.close()
    assert eventually(lambda: call(f"{service.url}/")[0] == 200, seconds=20)
    service.process.terminate()
    assert service.process.wait(10) == 0


def test_bodies_that_trickle_do_not_delay_health_checks(service, call):
    head = b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 100000\r\n\r\n"
    trickling = [connect(service) for _ in range(NUM_CALLERS)]
    for connection in trickling:
        connection.sendall(head)
    codes = set()
    for _ in range(8):
        for connection in trickling:
            with contextlib.suppress(OSError):  # it was refused meanwhile, and closed
                connection.sendall(b"x")
        codes.add(call(f"{service.url}/health/status")[0])
        time.sleep(1)

    assert codes == {200}
    for connection in trickling:
        connection.close()


def test_uploads_that_trickle_keep_no_slot_from_others(service, call, colours):
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: 100000\r\n\r\nx"
    trickling = [connect(service) for _ in range(NUM_CALLERS)]
    for connection in trickling:
        connection.sendall(head)
    time.sleep(0.5)

    assert [call(f"{service.url}/predict", colours.red, "image/png")[0] for _ in range(5)] == [200] * 5
    for connection in trickling:
        connection.close()


def test_a_body_in_chunks_beyond_the_limit_is_refused(service):
    part = bytes(2**20)
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    parts = (part for _ in range(MAX_BODY_BYTES // len(part) + 3))
    connection.request("POST", "/predict", parts, {"Content-Type": "image/jpeg"}, encode_chunked=True)

    assert connection.getresponse().status == 413
    connection.close()


def test_a_refusal_does_not_ask_for_the_body_of_a_client_that_waits(service):
    with connect(service) as connection:
        head = b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nExpect: 100-continue\r\nContent-Length: 100000\r\n\r\n"
        connection.sendall(head)

        assert connection.recv(100).startswith(b"HTTP/1.1 404")


NO_REQUESTS = {
    "a wrong length": (b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n", 400),
    "two lengths": (b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    "a secret word": (b"secret word\r\n\r\n", 400),
    "a long header": (b"GET / HTTP/1.1\r\nHost: x\r\nsecret: " + b"a" * 20_000 + b"\r\n\r\n", 431),
}


@pytest.mark.parametrize("kind", NO_REQUESTS)
def test_what_is_no_request_is_refused_as_everything_else(service, kind):
    content, code = NO_REQUESTS[kind]
    with connect(service) as connection:
        connection.sendall(content)
        response = b"".join(iter(lambda: connection.recv(2000), b""))

    head, _, body = response.partition(b"\r\n\r\n")
    error = json.loads(body)["status"]
    assert head.startswith(f"HTTP/1.1 {code}".encode())
    assert (error["code"], error["status"]) == (code, "FAILURE")
    assert b"secret" not in response


def test_an_origin_that_is_no_address_is_another_origin(service, call):
    assert call(f"{service.url}/predict", b"x", "image/png", Origin="http://[::1")[0] == 403
