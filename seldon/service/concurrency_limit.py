"""Limits how many requests may run and wait: more are rejected at once, so that no queue grows."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from seldon.service.request_errors import RequestError

AT_WORK = 2  # one image is decoded while another is with the model, which releases Python's lock
WAITING = 30  # a tenth of a second's work on two cores; a longer wait helps no caller


class Admission:
    """Counts the requests of one worker process. Thread-safe."""

    def __init__(self, at_work: int = AT_WORK, waiting: int = WAITING) -> None:
        self._slots = threading.BoundedSemaphore(at_work)
        self._places = threading.BoundedSemaphore(at_work + waiting)

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Hold a slot for a request from its head to its response.

        Raises: RequestError when there is none.
        """
        if not self._places.acquire(blocking=False):
            raise RequestError(
                503, "full", "expected a free slot, got a full queue; try again in a second", retry_after_seconds=1
            )
        try:
            yield
        finally:
            self._places.release()

    @contextmanager
    def working(self) -> Iterator[None]:
        """The model for oneself, as far as the cores allow it."""
        with self._slots:
            yield


def from_environment() -> Admission:
    """Return the limit of a worker, `IMAGELOOP_MAX_WAITING` waiting requests."""
    return Admission(waiting=int(os.environ.get("IMAGELOOP_MAX_WAITING", WAITING)))
