"""Gunicorn's worker for ASGI apps, which says first that it ends, and then ends as soon as no request is in flight."""

import asyncio
import logging
import os
from http import HTTPStatus
from typing import Any

from gunicorn.arbiter import Arbiter
from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.workers import gasgi

from imageloop.errors import ImageLoopError
from seldon.service.json_encoding import to_json
from seldon.service.request_errors import RequestError

logger = logging.getLogger(__name__)
DRAIN_VARIABLE = "IMAGELOOP_DRAIN_SECONDS"
POLL_SECONDS = 0.02
TOO_LARGE = (413, 414, 431)
UNREAD_SECONDS = 10.0  # a client that reads nothing of its response for so long is closed


def drain_seconds() -> float:
    """For how long a service that ends goes on serving while it is not ready: a cluster sends requests until all have heard of it."""
    return float(os.environ.get(DRAIN_VARIABLE) or 0)


class TimedProtocol(ASGIProtocol):  # type: ignore[misc]
    """A connection that waits for nothing without end: Gunicorn's own does for a first request, and for a client that reads no response."""

    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request, as for any other one."""
        super().connection_made(transport)
        self._arm_keepalive_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Release whoever waits for the client to read."""
        super().connection_lost(exc)
        self.resume_writing()

    def pause_writing(self) -> None:
        """Begin to wait for the client to read."""
        super().pause_writing()
        self._unread = self.worker.loop.call_later(UNREAD_SECONDS, self.transport.abort)

    def _send_error_response(self, status: int, _message: str, extra_headers: Any = ()) -> None:
        """Refuse what is no request of HTTP as every other refusal is worded; Gunicorn's own repeats what was sent."""
        reason = (
            "too_large" if status in TOO_LARGE else "internal" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "bad_request"
        )
        content = to_json(RequestError(status, reason, HTTPStatus(status).phrase).body())
        head = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            "Content-Type: application/json",
            f"Content-Length: {len(content)}",
        ]
        head += ["Connection: close", *(f"{name}: {value}" for name, value in extra_headers)]
        self._safe_write("\r\n".join([*head, "", ""]).encode() + content)

    def resume_writing(self) -> None:
        """The client has read, or is gone."""
        if self._unread is not None:
            self._unread.cancel()
        super().resume_writing()


gasgi.ASGIProtocol = TimedProtocol  # its worker looks the class up there


class ServiceWorker(gasgi.ASGIWorker):  # type: ignore[misc]
    """Serves a `ServiceApp`.

    Gunicorn's own worker notices SIGTERM within a second, and waits for connections that callers keep open, as a gateway does,
    until its time is up. Their requests are over: this one waits for requests.
    """

    async def start_beside(self) -> Any:
        """Start what is served beside HTTP; the result has a coroutine `stop` for its end, or is None.

        Raises: ImageLoopError where that is impossible.
        """
        from seldon.service.grpc_server import start_grpc  # the process that keeps the workers alive does not need it

        return await start_grpc(self.asgi)

    async def _serve(self) -> None:
        self._main: asyncio.Task[Any] | None = asyncio.current_task()
        try:
            self._beside = await self.start_beside()
        except ImageLoopError as error:  # as a model that cannot be loaded: another worker would meet it again
            logger.critical("%s", error)
            logging.shutdown()
            os._exit(Arbiter.WORKER_BOOT_ERROR)
        await super()._serve()

    def handle_exit_signal(self) -> None:
        """Be no longer ready, and end gracefully once callers know; at once where that takes no time, or the signal is repeated."""
        if not self.asgi.is_ending and drain_seconds() > 0:
            self.asgi.is_ending = True
            self.loop.call_later(drain_seconds(), self._end)
        else:
            self._end()

    def _end(self) -> None:
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
        if self._beside is not None:
            await self._beside.stop(0)
