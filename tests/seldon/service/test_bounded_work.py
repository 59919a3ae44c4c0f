"""What a message costs is limited before it is paid: memory, and work for callers who have gone."""

import base64
import io
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from PIL import Image

from seldon.delivery.clusters.local.replicas import serving_python

pytestmark = pytest.mark.xdist_group("service")
MAX_MEMORY_BYTES = 800 * 2**20  # of a worker whose model is tiny; its pod has 1 GiB


def blank(width: int, height: int, kind: str, **options) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 30)).save(content, kind, **options)
    return content.getvalue()


@pytest.fixture
def service(start_service, package):
    """One of its own: what it needs at most is read off its process."""
    return start_service([str(serving_python()), "-m", "seldon.launcher"], package, GUNICORN_WORKERS="1")


def peak_bytes(service) -> int:
    (worker,) = psutil.Process(service.process.pid).children()
    status = Path(f"/proc/{worker.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def worst_messages() -> dict[str, tuple[bytes, str]]:
    """Those that take most within the limits, and those that take more and are refused."""
    webp = base64.b64encode(blank(7_000, 7_000, "WEBP", quality=1, method=0)).decode()
    return {
        "64 large WebP images": (json.dumps({"jsonData": {"images": [webp] * 64}}).encode(), "application/json"),
        "the largest PNG": (blank(9_100, 9_100, "PNG", compress_level=1), "image/png"),
        "the largest WebP": (blank(4_950, 4_950, "WEBP", quality=1, method=0), "image/webp"),
        "the largest progressive JPEG": (blank(7_700, 7_700, "JPEG", progressive=True, quality=10), "image/jpeg"),
        "the largest AVIF": (blank(6_400, 6_400, "AVIF", quality=1, speed=10), "image/avif"),
        "50 MB of JSON": (json.dumps({"binData": "A" * (49 * 2**20)}).encode(), "application/json"),
        "50 MB of a file": (b"\xff\xd8" + bytes(49 * 2**20), "image/jpeg"),
        "200 megapixels of JPEG": (blank(20_000, 10_000, "JPEG", quality=10), "image/jpeg"),
    }


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_a_worker_stays_within_its_memory_whatever_eight_callers_send(service, call):
    messages = worst_messages()

    with ThreadPoolExecutor(len(messages)) as pool:
        for _ in range(2):
            found = dict(
                zip(
                    messages,
                    pool.map(lambda message: call(f"{service.url}/predict", *message)[0], messages.values()),
                    strict=True,
                )
            )

    assert peak_bytes(service) < MAX_MEMORY_BYTES
    assert set(found.values()) <= {200, 400, 422, 503}, found
    assert call(f"{service.url}/predict", *messages["the largest PNG"])[0] == 200
    assert call(f"{service.url}/predict", *messages["200 megapixels of JPEG"])[0] == 200
    assert call(f"{service.url}/predict", *messages["64 large WebP images"])[0] == 422


def test_images_whose_caller_has_gone_are_not_decoded(service, call, eventually):
    slow = json.dumps(
        {"jsonData": {"images": [base64.b64encode(blank(1_700, 1_000, "PNG", compress_level=1)).decode()] * 64}}
    ).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(slow)}\r\n\r\n".encode()
    assert call(f"{service.url}/predict", slow, "application/json")[0] == 200

    for _ in range(8):
        with socket.create_connection(("127.0.0.1", service.port)) as connection:
            connection.sendall(head + slow)

    assert eventually(lambda: b'reason="abandoned"' in call(f"{service.url}/metrics")[1])
    assert eventually(
        lambda: b'imageloop_in_flight{predictor="default",route="/predict"} 0.0' in call(f"{service.url}/metrics")[1]
    )


def test_messages_of_many_images_leave_room_for_single_ones(service, call):
    """Forty callers send messages of 64 images, more than may wait, as long as others send one image after the other."""
    single = blank(600, 600, "JPEG")
    many = json.dumps({"jsonData": {"images": [base64.b64encode(single).decode()] * 64}}).encode()
    stop = threading.Event()

    def flood() -> set[int]:
        codes = set()
        while not stop.is_set():
            codes.add(call(f"{service.url}/api/v1.0/predictions", many, "application/json")[0])
        return codes

    def send(_: int) -> int:
        return call(f"{service.url}/predict", single, "image/jpeg")[0]

    with ThreadPoolExecutor(44) as pool:
        floods = [pool.submit(flood) for _ in range(40)]
        while call(f"{service.url}/api/v1.0/predictions", many, "application/json")[0] != 503:
            pass
        singles = list(pool.map(send, range(40)))
        stop.set()

    assert singles == [200] * 40
    assert set().union(*(one.result() for one in floods)) == {200, 503}
