"""The caller of a request under ASGI: reads the body, and knows whether the caller is still there."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from seldon.service.body_size_limit import MAX_BODY_BYTES
from seldon.service.prediction_requests import Stage
from seldon.service.request_errors import RequestError

Receive = Callable[[], Awaitable[dict[str, Any]]]
SILENT_UPLOAD_SECONDS = 5.0  # a client that sends nothing for so long is refused, and makes room for others
UPLOAD_SECONDS = 60.0  # for a whole body
SCOPE, CALLER = "asgi.scope", "imageloop.caller"  # where a2wsgi's environment holds the scope, and the scope the caller
END = {"type": "http.request", "body": b"", "more_body": False}
CALLER_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)
TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


class Caller:
    """One request's caller."""

    def __init__(self, receive: Receive, *, expects_continue: bool = False) -> None:
        self._expects_continue = expects_continue
        self._receive, self._is_silent, self._is_read, self._gone = receive, False, False, False
        self._num_bytes, self._is_drained = 0, False
        self.begun = time.perf_counter()
        self._end = self.begun + UPLOAD_SECONDS
        self.stages: list[Stage] | None = None  # of the work for the caller, where it is traced
        self.error: Exception | None = None  # of the request, where it was found before Seldon's app got it

    def has_gone(self) -> bool:
        """Whether the caller has closed the connection."""
        return self._gone

    def is_gone(self) -> None:
        """Remember that the connection is closed."""
        self._gone = True

    def waits_for_continue(self) -> bool:
        """Whether the caller sends its body only once it is asked to, and was not asked yet."""
        return self._expects_continue and self._num_bytes == 0

    async def receive(self) -> dict[str, Any]:
        """The next part of the body, as ASGI has it; an empty one after the end.

        Raises: TimeoutError where the caller sends nothing for a while, or takes too long for the whole, and wherever it is asked again
        after that; ConnectionResetError where the caller has gone before the end; RequestError for a body that is too large.
        """
        if self._is_silent:
            raise TimeoutError
        if self._is_read:
            return END
        try:
            async with asyncio.timeout(min(SILENT_UPLOAD_SECONDS, self._end - time.perf_counter())):
                message = await self._receive()
        except TimeoutError:
            self._is_silent = True
            raise
        if message["type"] == "http.disconnect":
            self._gone = True
            raise ConnectionResetError
        self._is_read = not message.get("more_body", False)
        self._num_bytes += len(message.get("body", b""))
        if self._num_bytes > MAX_BODY_BYTES and not self._is_drained:
            raise RequestError(413, "too_large", f"expected at most {MAX_BODY_BYTES} bytes, got more")
        return message

    def drain(self, seconds: float) -> None:
        """Let the rest of the body be read for so long, however large it is, to be thrown away."""
        self._is_drained, self._end = True, time.perf_counter() + seconds

    async def body(self) -> bytes:
        """The whole body. Raises: as `receive`."""
        message = await self.receive()
        if not message.get("more_body"):
            return bytes(message.get("body", b""))
        parts = [message.get("body", b"")]
        while message.get("more_body"):
            message = await self.receive()
            parts.append(message.get("body", b""))
        return b"".join(parts)


def caller_of(environ: Mapping[str, Any]) -> Caller | None:
    """The caller of a WSGI request that came by way of ASGI."""
    caller: Caller | None = environ.get(SCOPE, {}).get(CALLER)
    return caller


def valid_caller_id(request_id: str, traceparent: str) -> str | None:
    """A client's id of a request: its own, or that of the trace that it belongs to; None if it is malformed.

    Source: W3C Trace Context, the header `traceparent`.
    """
    trace = TRACEPARENT.fullmatch(traceparent)
    identity = request_id or (trace[1] if trace else "")
    return identity if CALLER_ID.fullmatch(identity) else None
