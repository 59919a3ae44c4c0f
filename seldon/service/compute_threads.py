"""Threads that compute: they take what waits from one queue, and several requests at once where several wait.

Handing a processor over from request to request costs more than the work around a prediction. A thread here takes
its share of what waits already, and runs the model once on all of it; it waits for more only where that is configured. Large
jobs wait in a queue of their own, so that single images do not wait behind all of them.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

END_SECONDS = 5.0
# Results, or errors in their places, of several arguments.
Together = Callable[[list[Any]], list[Any]]


@dataclass
class _Job:
    function: Together
    argument: Any
    alone: bool
    result: Future[Any] = field(default_factory=Future)


class ComputeThreads:
    """A fixed number of threads over one queue, and one of large jobs.

    While small jobs wait, one thread at least is theirs; a single thread takes both in turn. A function gets the arguments of several
    callers as a list, at most `max_together`, and returns a result or an exception for each of them, in the same order. What it raises is
    the error of all of them. `max_wait_seconds`: how long a thread waits for more.
    """

    def __init__(self, num_threads: int, max_together: int, max_wait_seconds: float = 0.0) -> None:
        self._num_threads, self._max_together, self._max_wait_seconds = num_threads, max_together, max_wait_seconds
        self._jobs: deque[_Job] = deque()
        self._large: deque[_Job] = deque()
        self._at_large, self._was_large = 0, False  # threads that compute large jobs now; whether the last job taken was one
        self._added = threading.Condition()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"compute-{number}", daemon=True) for number in range(num_threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, function: Together, argument: Any, *, alone: bool = False) -> Future[Any]:
        """Queue one argument of a function, by itself where it is large. Never waits.

        A job that is cancelled before its turn is not begun.
        """
        job = _Job(function, argument, alone)
        with self._added:
            (self._large if alone else self._jobs).append(job)
            self._added.notify()
        return job.result

    def close(self) -> None:
        """Finish what waits, then end the threads."""
        with self._added:
            self._closed = True
            self._added.notify_all()
        for thread in self._threads:
            thread.join(timeout=END_SECONDS)

    def _work(self) -> None:
        while (jobs := self._take()) is not None:
            begun = [job for job in jobs if job.result.set_running_or_notify_cancel()]
            if begun:
                _run(begun)
            if jobs and jobs[0].alone:
                with self._added:
                    self._at_large -= 1

    def _take(self) -> list[_Job] | None:
        """This thread's share of the jobs that wait, all of one function; None once the queue is closed and empty."""
        with self._added:
            while not self._jobs and not self._large and not self._closed:
                self._added.wait()
            if self._large and self._is_turn_of_large():
                self._at_large, self._was_large = self._at_large + 1, True
                return [self._large.popleft()]
            self._was_large = False
            share = min(self._max_together, -(-len(self._jobs) // self._num_threads))
            if self._max_wait_seconds:
                self._added.wait_for(lambda: len(self._jobs) >= self._max_together or self._closed, self._max_wait_seconds)
                share = self._max_together
            if not self._jobs:
                return None if self._closed and not self._large else []
            taken = [self._jobs.popleft()]
            while self._jobs and len(taken) < share and _go_together(taken[0], self._jobs[0]):
                taken.append(self._jobs.popleft())
            return taken

    def _is_turn_of_large(self) -> bool:
        """Whether a large job is next: where nothing else waits, else by turns and never on the last thread."""
        return not self._jobs or (not self._was_large and self._at_large < max(1, self._num_threads - 1))


def _go_together(one: _Job, other: _Job) -> bool:
    return one.function == other.function


def _run(jobs: list[_Job]) -> None:
    try:
        results = jobs[0].function([job.argument for job in jobs])
    except BaseException as error:
        results = [error] * len(jobs)
    for job, result in zip(jobs, results, strict=True):
        if isinstance(result, BaseException):
            job.result.set_exception(result)
        else:
            job.result.set_result(result)
