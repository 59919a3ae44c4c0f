"""The engine seam: work on many items, on this machine or on many.

The core sends an engine a task and its items; `imageloop.adapters.ray_engine` is the one for many machines. A step says which one its work
runs on; elsewhere it is this process.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from imageloop.usable_cores import usable_cores


class Task[Item, Result](Protocol):
    """Work that is done item by item. It is sent to each worker once, and opened there once."""

    def open(self, cores: int) -> Callable[[Item], Result]:
        """What does one item, with as many threads as `cores`. The same item gives the same result on any worker."""
        ...


class Link(Protocol):
    """Between processes that work together and whoever sent them: what they report, and the state that another attempt goes on with."""

    def report(self, value: Any) -> None:
        """Hand a value to who sent the work."""
        ...

    def keep(self, state: bytes | None) -> None:
        """Have a state kept in the place of the last one, or none any more."""
        ...

    def kept(self) -> bytes | None:
        """The state that was kept last."""
        ...


class Engine(Protocol):
    """Where a task runs. `is_this_process`: whether its work can report progress of its own."""

    is_this_process: bool

    def map[Item, Result](self, task: Task[Item, Result], items: Iterable[Item]) -> Iterator[tuple[int, Result]]:
        """The number and the result of each item, as they end, each once. Items are taken when there is a worker for them.

        Raises: what the work raises; ImageLoopError where no worker is left.
        """
        ...

    def together[Result](self, work: Callable[[int, Link], Result], most: int, sender: Link, *, on_gpu: bool) -> Result:
        """Let at most so many processes do one piece of work, as a group of `torch.distributed`, and return the result of the first one.

        `work` gets its number of cores and a link to `sender`. `on_gpu`: each has a GPU, where the engine has some. Where a process dies, all begin
        anew with the state that was kept.

        Raises: what the work raises; ImageLoopError where processes die again and again.
        """
        ...


class ThisProcess:
    """One item after the other, each with all cores that this process may use."""

    is_this_process = True

    def map[Item, Result](self, task: Task[Item, Result], items: Iterable[Item]) -> Iterator[tuple[int, Result]]:
        work = task.open(usable_cores())
        for number, item in enumerate(items):
            yield number, work(item)

    def together[Result](self, work: Callable[[int, Link], Result], most: int, sender: Link, *, on_gpu: bool) -> Result:
        return work(usable_cores(), sender)


_opener: ContextVar[Callable[[], Engine]] = ContextVar("opener", default=ThisProcess)


@contextmanager
def work_on(opener: Callable[[], Engine]) -> Iterator[None]:
    """Let the work within the block run on another engine, which is opened when there is some."""
    token = _opener.set(opener)
    try:
        yield
    finally:
        _opener.reset(token)


def current_engine() -> Engine:
    """Open the engine of the step that runs.

    Raises: SettingsError for one that cannot be reached.
    """
    return _opener.get()()
