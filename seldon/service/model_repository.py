"""Loads models on demand, and unloads those that were not used for longest, within the memory of one process."""

import asyncio
import ctypes
import gc
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from imageloop.errors import ImageLoopError
from seldon.service import prometheus_metrics
from seldon.service.hosted_models import HostedModel, LoadFailure
from seldon.service.request_errors import RequestError

if TYPE_CHECKING:
    from seldon.service.asgi_app import ServiceApp

logger = logging.getLogger(__name__)
MIB = 2**20
WAIT_SECONDS, POLL_SECONDS = 5.0, 0.02  # for a model that is in use to be idle, so that another one finds room
AGAIN_SECONDS = 5.0  # after which a model that could not be loaded is tried again
FIRST_GUESS = 64 * MIB  # of a model that was never loaded; Lite0 takes about half of that


@dataclass(eq=False)
class Slot:
    """A model and what is known of it. `app`: None while it is not loaded; `users`: requests that hold it.

    `num_bytes`: by how much the process grew when it was loaded last; `failure`: why it cannot be loaded.
    """

    model: HostedModel
    app: "ServiceApp | None" = None
    users: int = 0
    used_at: float = 0.0
    num_bytes: int = 0
    failure: LoadFailure | None = None
    failed_at: float = field(default=float("-inf"))

    @property
    def label(self) -> str:
        """The predictor as metrics name it."""
        return f"{self.model.deployment}/{self.model.predictor}"

    @property
    def is_idle(self) -> bool:
        """Whether it is loaded, and nobody would miss it now."""
        app = self.app
        return app is not None and not self.users and not app.in_flight and app.model.handler.admission.is_idle


class ModelRepository:
    """The slots of one process. All methods run in its event loop; models are opened and closed in a thread."""

    def __init__(self, open_app: Callable[[HostedModel], "ServiceApp"], memory_bytes: int) -> None:
        """`open_app` opens a model and the app that serves it; it raises ImageLoopError where that is impossible."""
        self._open_app, self.memory_bytes = open_app, memory_bytes
        self.slots: dict[str, Slot] = {}
        self._changing = asyncio.Lock()  # one model at a time is loaded or unloaded, or memory could not be counted

    @asynccontextmanager
    async def using(self, slot: Slot) -> AsyncIterator["ServiceApp"]:
        """The app of a model, which stays loaded within the block.

        Raises: RequestError where it cannot be loaded.
        """
        slot.users, slot.used_at = slot.users + 1, time.monotonic()
        try:
            yield slot.app or await self.load(slot)
        finally:
            slot.users, slot.used_at = slot.users - 1, time.monotonic()

    async def load(self, slot: Slot) -> "ServiceApp":
        """Load a model, after making room for it. Raises: RequestError where that is impossible."""
        async with self._changing:
            if slot.app is not None:
                return slot.app
            if time.monotonic() - slot.failed_at < AGAIN_SECONDS:
                raise _unavailable(slot)
            await self._make_room(slot)
            before, begun = resident_bytes(), time.monotonic()
            try:
                app = await asyncio.to_thread(self._open_app, slot.model)
            except Exception as error:
                reason = str(error) if isinstance(error, ImageLoopError | TypeError) else f"it failed ({type(error).__name__})"
                slot.failure, slot.failed_at = LoadFailure(message=reason, of_model=True), time.monotonic()
                logger.exception("the model '%s' cannot be loaded: %s", slot.model.slot, reason)
                raise _unavailable(slot) from error
            slot.app, slot.failure = app, None
            slot.num_bytes = max(resident_bytes() - before, 0) or slot.num_bytes
            prometheus_metrics.model_loads.labels(slot.label).inc()
            prometheus_metrics.model_load_seconds.labels(slot.label).inc(time.monotonic() - begun)
            prometheus_metrics.model_loaded.labels(slot.label).set(1)
            logger.info("loaded '%s' in %.2f s, %d MB", slot.model.slot, time.monotonic() - begun, slot.num_bytes / MIB)
            return app

    async def unload(self, slot: Slot) -> None:
        """Close a model that nobody uses, and give its memory back."""
        async with self._changing:
            await self._unload(slot)

    async def keep_within_memory(self) -> None:
        """Unload models that nobody uses while the process takes more than it may: what predicts grows."""
        async with self._changing:
            await self._shrink_to(self.memory_bytes)

    async def _make_room(self, slot: Slot) -> None:
        """Raises: RequestError where models that are in use, or warm, leave too little memory."""
        needed, deadline = slot.num_bytes or FIRST_GUESS, time.monotonic() + WAIT_SECONDS
        if slot.model.warm:
            needed += FIRST_GUESS  # warm models leave room for one that is not
        while True:
            await self._shrink_to(self.memory_bytes - needed)
            loaded = [one for one in self.slots.values() if one.app is not None]
            if not loaded or resident_bytes() + needed <= self.memory_bytes:
                return
            if time.monotonic() > deadline or all(one.model.warm for one in loaded):
                break
            await asyncio.sleep(POLL_SECONDS)
        raise RequestError(
            503,
            "no_memory",
            f"expected memory for the model '{slot.model.parameters['model_name']}', got none within {self.memory_bytes // MIB} MB: "
            f"{len(loaded)} loaded models are in use or warm; try again, or deploy with a larger server.memory_mb or fewer warm models",
            retry_after_seconds=1,
        )

    async def _shrink_to(self, num_bytes: int) -> None:
        while resident_bytes() > num_bytes:
            idle = [slot for slot in self.slots.values() if slot.is_idle and not slot.model.warm]
            if not idle:
                return
            await self._unload(min(idle, key=lambda slot: slot.used_at))

    async def _unload(self, slot: Slot) -> None:
        app, slot.app = slot.app, None
        if app is None:
            return
        await asyncio.to_thread(app.close)
        del app
        gc.collect()
        _return_memory()
        prometheus_metrics.model_loaded.labels(slot.label).set(0)
        prometheus_metrics.model_unloads.labels(slot.label).inc()
        logger.info("unloaded '%s'; the process takes %d MB", slot.model.slot, resident_bytes() / MIB)


def failures_of(slots: Iterable[Slot]) -> dict[str, LoadFailure]:
    """Why models could not be loaded, by slot."""
    return {slot.model.slot: slot.failure for slot in slots if slot.failure is not None}


def resident_bytes() -> int:
    """The memory that this process takes; 0 where the system does not say so, as on macOS: then nothing is unloaded."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _return_memory() -> None:
    """Give freed memory back to the system, where its allocator keeps it otherwise."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "malloc_trim"):
            libc.malloc_trim(0)


def _unavailable(slot: Slot) -> RequestError:
    """What a caller gets; the reason may name files of the server, and is for those who deployed the model."""
    name = slot.model.parameters["model_name"]
    info = f"expected the model '{name}' to be loaded, got an error of its package; who deployed it finds it in the process' log"
    return RequestError(503, "not_loaded", info, retry_after_seconds=round(AGAIN_SECONDS))
