"""Report the progress of long work. The core calls a listener; the command line shows it."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Event, Thread
from typing import Protocol

SECONDS_BETWEEN = 0.5


class Listener(Protocol):
    """Receives the progress of work that is counted in pieces; `total` is 0 where it is unknown."""

    def start(self, what: str, total: int) -> None: ...

    def advance(self, count: int) -> None: ...

    def finish(self) -> None: ...


class Silence:
    """A listener that does nothing."""

    def start(self, what: str, total: int) -> None: ...

    def advance(self, count: int) -> None: ...

    def finish(self) -> None: ...


listener: ContextVar[Listener] = ContextVar("listener", default=Silence())  # noqa: B039 - it holds no state


def track[T](items: Iterable[T], what: str, total: int, size: int = 1) -> Iterator[T]:
    """Pass `items` on and report each as `size` pieces."""
    with counted(what, total) as advance:
        for item in items:
            yield item
            advance(size)


@contextmanager
def counted(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Report progress of work that is no loop: the yielded function takes the number of finished pieces."""
    current = listener.get()
    current.start(what, total)
    try:
        yield current.advance
    finally:
        current.finish()


@contextmanager
def long_pieces(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """The same for pieces that take minutes: between them it is reported that the work goes on."""
    with counted(what, total) as advance:
        ended = Event()

        def report() -> None:
            while not ended.wait(SECONDS_BETWEEN):
                advance(0)

        beside = Thread(target=report, daemon=True)
        beside.start()
        try:
            yield advance
        finally:
            ended.set()
            beside.join()


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Report that work without a total goes on."""
    with long_pieces(what, 0):
        yield
