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
        self._bodies_bytes, self._held_bytes, self._counting = bodies_bytes, 0, threading.Lock()
        self._places = threading.BoundedSemaphore(at_work + waiting)

    @contextmanager
    def admitted(self, body_bytes: int = 0) -> Iterator[None]:
        """Hold a slot for a request from its head to its response.

        Raises: RequestError when there is none, or too little memory for its body.
        """
        if not self._places.acquire(blocking=False):
            raise _full("a full queue")
        try:
            self._hold(body_bytes)
            try:
                yield
            finally:
                self._release(body_bytes)
        finally:
            self._places.release()

    def _hold(self, body_bytes: int) -> None:
        with self._counting:
            if self._held_bytes and self._held_bytes + body_bytes > self._bodies_bytes:
                raise _full("large bodies of other requests")
            self._held_bytes += body_bytes

    def _release(self, body_bytes: int) -> None:
        with self._counting:
            self._held_bytes -= body_bytes


def _full(got: str) -> RequestError:
    return RequestError(503, "full", f"expected a free slot, got {got}; try again in a second", retry_after_seconds=1)


def from_environment(at_work: int) -> Admission:
    """Return the limit of a worker that computes `at_work` requests at once, `IMAGELOOP_MAX_WAITING` waiting ones."""
    return Admission(at_work, int(os.environ.get("IMAGELOOP_MAX_WAITING", WAITING)))
