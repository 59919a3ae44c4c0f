"""Send images to a service at a steady rate, and labels for some of them."""

import itertools
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import requests

from operations.demo_loop.traffic_images import ImageStream

NUM_CLIENTS = 2
TIMEOUT_SECONDS = 20
IDLE_FACTOR = 4  # times slower in the background: the clients share the cores with a training
NUM_RECENT = 20  # predictions that show whether two versions are compared


@dataclass(frozen=True)
class SentRequest:
    """One request: when it was sent (Unix seconds), which version predicted, and whether that was right."""

    time: float
    version: str
    right: bool
    label: str
    request_id: str


class Traffic:
    """Clients that send images until they are stopped: at full rate within `wait_for` or while two versions are compared.

    `images` may change at any time; `labelled_share` of the images is labelled at once.
    """

    def __init__(self, url: str, per_second: float, images: ImageStream) -> None:
        self.images = images
        self.labelled_share = 0.0
        self.sent: list[SentRequest] = []
        self.failures: list[str] = []
        self._url, self._pause = url, NUM_CLIENTS / per_second
        self._labelled: set[str] = set()
        self._class_names: list[str] = []
        self._numbers = itertools.count()
        self._stopping, self._awaited = threading.Event(), threading.Event()
        self._pool = ThreadPoolExecutor(NUM_CLIENTS)
        self._work = [self._pool.submit(self._send_images) for _ in range(NUM_CLIENTS)]

    def __enter__(self) -> "Traffic":
        return self

    def __exit__(self, *_error: object) -> None:
        self._stopping.set()
        self._pool.shutdown(wait=True)

    def wait_for(self, count: int, seconds: float = 120.0) -> Sequence[SentRequest]:
        """The next `count` requests, or fewer when the time is over."""
        begun, deadline = len(self.sent), time.monotonic() + seconds
        self._awaited.set()
        while len(self.sent) < begun + count and time.monotonic() < deadline:
            time.sleep(0.05)
        self._awaited.clear()
        return self.sent[begun:]

    def send_labels(self, sent: Sequence[SentRequest], *, poisoned: bool = False) -> int:
        """Send the ground truth of these requests, or another class if `poisoned`; return how many labels were sent."""
        unlabelled = [one for one in sent if one.request_id not in self._labelled]

        def send(one: SentRequest) -> None:
            self._send_label(one.request_id, self._other_class(one.label) if poisoned else one.label)

        with ThreadPoolExecutor(NUM_CLIENTS) as pool:
            list(pool.map(send, unlabelled))
        return len(unlabelled)

    def _send_images(self) -> None:
        with requests.Session() as session:
            while not self._stopping.is_set():
                begun = time.monotonic()
                try:
                    self._send_image(session, next(self._numbers))
                except requests.RequestException as error:
                    self.failures.append(_description(error))
                self._stopping.wait(max(0.0, self._current_pause() - (time.monotonic() - begun)))

    def _current_pause(self) -> float:
        compared = len({one.version for one in self.sent[-NUM_RECENT:]}) > 1
        return self._pause if self._awaited.is_set() or compared else IDLE_FACTOR * self._pause

    def _send_image(self, session: requests.Session, number: int) -> None:
        label, content = self.images.image(number)
        headers = {"Content-Type": "image/jpeg"}
        response = session.post(f"{self._url}/predict", content, headers=headers, timeout=TIMEOUT_SECONDS)
        response.raise_for_status()
        body: dict[str, Any] = response.json()
        self._class_names = sorted(body["probabilities"])
        sent = SentRequest(time.time(), body["model"]["version"], body["label"] == label, label, body["request_id"])
        self.sent.append(sent)
        if np.random.default_rng(number).random() < self.labelled_share:
            self._send_label(sent.request_id, label)

    def _send_label(self, request_id: str, label: str) -> None:
        self._labelled.add(request_id)
        body = {"request_id": request_id, "label": label}
        requests.post(f"{self._url}/feedback", json=body, timeout=TIMEOUT_SECONDS).raise_for_status()

    def _other_class(self, label: str) -> str:
        return next(name for name in self._class_names if name != label)


def _description(error: requests.RequestException) -> str:
    response = error.response
    return repr(error) if response is None else f"{response.status_code} from {response.url}: {response.text[:300]}"
