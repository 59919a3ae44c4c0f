"""Import slow libraries in the background, while native code computes on the other cores."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from threading import Thread


@contextmanager
def loading(*modules: str) -> Iterator[None]:
    """Load `modules`, which are expected next, beside the body, which should load none of them; what cannot be loaded fails where it is expected."""

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
