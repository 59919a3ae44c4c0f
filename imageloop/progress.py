"""How far a long piece of work has come. The core only tells; who listens decides how it looks."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Event, Thread
from typing import Protocol

SECONDS_BETWEEN = 0.5


class Listener(Protocol):
    """Hears of work that is counted in pieces; `total` is 0 where nobody knows how many there will be."""

    def start(self, what: str, total: int) -> None: ...

    def advance(self, count: int) -> None: ...

    def finish(self) -> None: ...


class Silence:
    """Nobody listens."""

    def start(self, what: str, total: int) -> None: ...

    def advance(self, count: int) -> None: ...

    def finish(self) -> None: ...


listener: ContextVar[Listener] = ContextVar("listener", default=Silence())  # noqa: B039 - it holds no state


def track[T](items: Iterable[T], what: str, total: int, size: int = 1) -> Iterator[T]:
    """Pass `items` on and tell the listener after each, `size` pieces at a time."""
    with counted(what, total) as advance:
        for item in items:
            yield item
            advance(size)


@contextmanager
def counted(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """For work that is no loop: what is yielded tells the listener of so many pieces more."""
    ear = listener.get()
    ear.start(what, total)
    try:
        yield ear.advance
    finally:
        ear.finish()


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """For work that cannot be counted, and counts nothing itself: the listener hears that it goes on."""
    with counted(what, 0) as advance:
        ended = Event()

        def tell() -> None:
            while not ended.wait(SECONDS_BETWEEN):
                advance(0)

        beside = Thread(target=tell, daemon=True)
        beside.start()
        try:
            yield
        finally:
            ended.set()
            beside.join()
