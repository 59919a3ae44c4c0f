"""Gunicorn's worker for ASGI apps, which ends as soon as no request is in flight."""

import asyncio
from typing import Any

from gunicorn.workers.gasgi import ASGIWorker

POLL_SECONDS = 0.02


class ServiceWorker(ASGIWorker):  # type: ignore[misc]
    """Serves a `ServiceApp`.

    Gunicorn's own worker notices SIGTERM within a second, and waits for connections that callers keep open, as a gateway does,
    until its time is up. Their requests are over: this one waits for requests.
    """

    async def _serve(self) -> None:
        self._main: asyncio.Task[Any] | None = asyncio.current_task()
        await super()._serve()

    def handle_exit_signal(self) -> None:
        """End gracefully, and begin at once."""
        super().handle_exit_signal()
        if self._main is not None:
            self._main.cancel()  # what it does between two heartbeats is to sleep

    async def _shutdown(self) -> None:
        self._main = None
        for server in self.servers:
            server.close()
        deadline = self.loop.time() + self.cfg.graceful_timeout
        while self.asgi.in_flight and self.loop.time() < deadline and not self._quick_shutdown:
            await asyncio.sleep(POLL_SECONDS)
