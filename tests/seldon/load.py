"""Callers who never stop asking, while something happens to the service."""

import http.client
import json
import threading
import time
from collections import Counter
from typing import Self
from urllib.parse import urlsplit


class Load:
    """`clients` threads that send pictures to /predict, one after the other, and count what comes back."""

    def __init__(self, url: str, pictures: list[bytes], clients: int = 4) -> None:
        self._url, self._pictures = urlsplit(url), pictures
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(number,), daemon=True) for number in range(clients)]
        self._lock = threading.Lock()
        self.codes: Counter[object] = Counter()
        self.predictors: Counter[str] = Counter()
        self.failures: list[str] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(60)

    @property
    def failed(self) -> int:
        return sum(count for code, count in self.codes.items() if code != 200)

    def wait_for(self, requests: int, seconds: float = 60) -> None:
        wanted, deadline = sum(self.codes.values()) + requests, time.monotonic() + seconds
        while sum(self.codes.values()) < wanted:
            assert time.monotonic() < deadline, f"only {sum(self.codes.values())} answers"
            time.sleep(0.02)

    def _call(self, number: int) -> None:
        connection = None
        while not self._stopped.is_set():
            number += 1
            try:
                connection = connection or http.client.HTTPConnection(self._url.hostname, self._url.port, timeout=60)
                connection.request("POST", f"{self._url.path}/predict", self._pictures[number % len(self._pictures)], {"Content-Type": "image/jpeg"})
                answer = connection.getresponse()
                body = answer.read()
                code: object = answer.status
            except OSError as error:
                code, body, connection = repr(error), b"", None
            with self._lock:
                self.codes[code] += 1
                if code == 200:
                    self.predictors[json.loads(body)["model"]["predictor"]] += 1
                else:
                    self.failures.append(f"{code}: {body[:200]!r}")
