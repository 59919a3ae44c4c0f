"""Limits how many requests may run and wait, and the memory of their bodies: more are rejected at once, so that no queue grows.

The memory of a worker is bounded: its model and libraries, the bodies (`BODIES_BYTES`, and copies while they are parsed), one
large image that is decoded (`Limits.max_decoding_bytes`), and small ones.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from seldon.service.request_errors import RequestError

BODIES_BYTES = 64 * 2**20  # of all requests together; a single one may be as large as the limit of a body
WAITING = 30  # a tenth of a second's work on two cores; a longer wait helps no caller


class Admission:
    """Counts the requests of one worker process. Thread-safe."""

    def __init__(self, at_work: int, waiting: int = WAITING, bodies_bytes: int = BODIES_BYTES) -> None:
        self._num_places, self._num_held = at_work + waiting, 0
        self._num_for_large, self._num_large = max(1, self._num_places // 2), 0  # the rest is for single images
        self._bodies_bytes, self._held_bytes = bodies_bytes, 0
        self._counting = threading.Lock()

    @property
    def is_idle(self) -> bool:
        """Whether no request holds anything, also none whose caller has gone."""
        with self._counting:
            return not self._num_held and not self._held_bytes

    @contextmanager
    def admitted(self, body_bytes: int = 0, *, large: bool = False) -> Iterator[None]:
        """Hold a slot and the memory of the body for a request from its head to its response; `large` ones have half of the slots.

        Raises: RequestError when there is none, or too little memory.
        """
        with self.receiving(body_bytes), self.computing(large=large):
            yield

    @contextmanager
    def receiving(self, body_bytes: int) -> Iterator[None]:
        """Hold the memory of a body. It takes no slot yet: callers who send slowly would keep them from others.

        Raises: RequestError when there is too little memory, or no slot for the time after.
        """
        with self._counting:
            if self._num_held >= self._num_places:
                raise _full("a full queue")
            if self._held_bytes and self._held_bytes + body_bytes > self._bodies_bytes:
                raise _full("large bodies of other requests")
            self._held_bytes += body_bytes
        try:
            yield
        finally:
            with self._counting:
                self._held_bytes -= body_bytes

    @contextmanager
    def computing(self, *, large: bool = False) -> Iterator[None]:
        """Hold a slot. Raises: RequestError when there is none."""
        with self._counting:
            if self._num_held >= self._num_places or (large and self._num_large >= self._num_for_large):
                raise _full("a full queue")
            self._num_held += 1
            self._num_large += large
        try:
            yield
        finally:
            with self._counting:
                self._num_held -= 1
                self._num_large -= large


def _full(got: str) -> RequestError:
    return RequestError(503, "full", f"expected a free slot, got {got}; try again in a second", retry_after_seconds=1)


def num_workers() -> int:
    """How many processes of a replica share its port."""
    return int(os.environ.get("GUNICORN_WORKERS") or 1)


def from_environment(at_work: int) -> Admission:
    """Return the limit of a worker that computes `at_work` requests at once, `IMAGELOOP_MAX_WAITING` waiting ones."""
    return Admission(at_work, int(os.environ.get("IMAGELOOP_MAX_WAITING", WAITING)))
