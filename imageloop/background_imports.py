"""Import slow libraries in the background, while native code computes on the other cores."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from threading import Thread


@contextmanager
def loading(*modules: str) -> Iterator[None]:
    """Load `modules`, which are expected next, beside the body; what cannot be loaded fails where it is expected.

    The body must load none of them, nor what they load: where two threads load modules that import each other, Python may hand one of them a module that
    is half loaded ("cannot import name ... from partially initialized module").
    """

    def load() -> None:
        for module in modules:
            with suppress(ImportError):
                import_module(module)

    beside = Thread(target=load, daemon=True)
    beside.start()
    try:
        yield
    finally:
        beside.join()
