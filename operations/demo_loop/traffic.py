"""People who send pictures, and some of whom say later what they showed."""

import itertools
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import requests

from operations.demo_loop.traffic_images import World

NUM_CALLERS = 2
TIMEOUT_SECONDS = 20
CALM = 4  # times slower while nobody waits for their answers: they share the cores with a training
NUM_RECENT = 20  # answers that show whether two versions are compared


@dataclass(frozen=True)
class Answered:
    """One request: when, by which version, and whether it was right."""

    time: float
    version: str
    right: bool
    truth: str
    request_id: str


class Visitors:
    """Callers until they are stopped, at a steady rate while somebody waits for their answers: `wait_for`, or a rollout of two versions.

    `world` may change at any time; `labels` is the share that says the truth at once.
    """

    def __init__(self, url: str, per_second: float, world: World) -> None:
        self.world = world
        self.labels = 0.0
        self.answered: list[Answered] = []
        self.failures: list[str] = []
        self._url, self._pause = url, NUM_CALLERS / per_second
        self._told: set[str] = set()
        self._class_names: list[str] = []
        self._numbers = itertools.count()
        self._stopping, self._awaited = threading.Event(), threading.Event()
        self._pool = ThreadPoolExecutor(NUM_CALLERS)
        self._work = [self._pool.submit(self._call_on) for _ in range(NUM_CALLERS)]

    def __enter__(self) -> "Visitors":
        return self

    def __exit__(self, *_error: object) -> None:
        self._stopping.set()
        self._pool.shutdown(wait=True)

    def wait_for(self, count: int, seconds: float = 120.0) -> Sequence[Answered]:
        """The next `count` answers, or fewer when the time is over."""
        begun, deadline = len(self.answered), time.monotonic() + seconds
        self._awaited.set()
        while len(self.answered) < begun + count and time.monotonic() < deadline:
            time.sleep(0.05)
        self._awaited.clear()
        return self.answered[begun:]

    def tell(self, answers: Sequence[Answered], *, lie: bool = False) -> int:
        """Send the truth about answers, or the other class; how many were told."""
        wanted = [answer for answer in answers if answer.request_id not in self._told]
        with ThreadPoolExecutor(NUM_CALLERS) as pool:
            list(
                pool.map(lambda answer: self._tell(answer.request_id, self._other(answer.truth) if lie else answer.truth), wanted)
            )
        return len(wanted)

    def _call_on(self) -> None:
        with requests.Session() as session:
            while not self._stopping.is_set():
                begun = time.monotonic()
                try:
                    self._call(session, next(self._numbers))
                except requests.RequestException as error:
                    self.failures.append(_words_of(error))
                self._stopping.wait(max(0.0, self._pause_now() - (time.monotonic() - begun)))

    def _pause_now(self) -> float:
        compared = len({one.version for one in self.answered[-NUM_RECENT:]}) > 1
        return self._pause if self._awaited.is_set() or compared else CALM * self._pause

    def _call(self, session: requests.Session, number: int) -> None:
        truth, content = self.world.picture(number)
        headers = {"Content-Type": "image/jpeg"}
        answer = session.post(f"{self._url}/predict", content, headers=headers, timeout=TIMEOUT_SECONDS)
        answer.raise_for_status()
        said: dict[str, Any] = answer.json()
        self._class_names = sorted(said["probabilities"])
        found = Answered(time.time(), said["model"]["version"], said["label"] == truth, truth, said["request_id"])
        self.answered.append(found)
        if np.random.default_rng(number).random() < self.labels:
            self._tell(found.request_id, truth)

    def _tell(self, request_id: str, label: str) -> None:
        self._told.add(request_id)
        body = {"request_id": request_id, "label": label}
        requests.post(f"{self._url}/feedback", json=body, timeout=TIMEOUT_SECONDS).raise_for_status()

    def _other(self, label: str) -> str:
        return next(name for name in self._class_names if name != label)


def _words_of(error: requests.RequestException) -> str:
    """What went wrong, and what the other side said of it, if it said anything."""
    answer = error.response
    return repr(error) if answer is None else f"{answer.status_code} from {answer.url}: {answer.text[:300]}"
