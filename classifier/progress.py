"""How far a long piece of work has come. The core only tells; who listens decides how it looks."""

from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Protocol


class Listener(Protocol):
    """Hears of work that is counted in pieces."""

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
    ear = listener.get()
    ear.start(what, total)
    try:
        for item in items:
            yield item
            ear.advance(size)
    finally:
        ear.finish()
