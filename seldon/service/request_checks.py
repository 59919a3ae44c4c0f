"""Check a request before any work is done for it: its origin, its content type, its caller; and read its body."""

import os
import select
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from flask import g, has_request_context, request

from seldon.service.body_size_limit import MAX_BODY_BYTES
from seldon.service.callers import SILENT_UPLOAD_SECONDS, caller_of, valid_caller_id
from seldon.service.prediction_requests import PredictionRequest, Stage, source_of
from seldon.service.request_errors import RequestError
from seldon.service.rollout_requests import ROLLOUT_HEADER, is_of_rollout
from seldon.service.seldon_messages import Contents, read_json, refuse_brackets
from seldon.service.serving_protocols import CLIENT_HEADER, ORIGINS_VARIABLE

SELDON_FIELDS = (b'"jsonData"', b'"data"', b'"binData"', b'"strData"', b'"meta"')
HEAD_BYTES = 100  # in which a message names its first field
MAX_FIELDS = 10
FORM = "application/x-www-form-urlencoded"


def abandonment() -> Callable[[], bool]:
    """A check, for any thread, of whether the caller of this request has closed the connection."""
    if not has_request_context():
        return lambda: False
    if (caller := caller_of(request.environ)) is not None:
        return caller.has_gone
    connection = request.environ.get("gunicorn.socket")  # under Seldon's own command
    return (lambda: False) if connection is None else partial(_is_closed, connection)


def _is_closed(connection: socket.socket) -> bool:
    """Whether the other end has closed; asked without waiting."""
    polled = select.poll()
    polled.register(connection, select.POLLIN)
    try:
        return bool(polled.poll(0)) and connection.recv(1, socket.MSG_PEEK) == b""
    except OSError:
        return True


def stages() -> list[Stage] | None:
    """Where the stages of this request are noted; None where it is not traced."""
    caller = caller_of(request.environ) if has_request_context() else None
    return caller.stages if caller is not None else None


def caller_id() -> str | None:
    """The client's id of the request, None if it is malformed."""
    return valid_caller_id(request.headers.get("X-Request-Id", ""), request.headers.get("traceparent", ""))


def of_rollout() -> bool:
    """Whether a rollout of this site sent the request."""
    return is_of_rollout(request.headers.get(ROLLOUT_HEADER))


def handed_in(contents: Contents, route: str) -> PredictionRequest:
    """What the caller of this request hands in to be predicted, by a route of ours."""
    source = source_of(route, request.headers.get(CLIENT_HEADER))
    return PredictionRequest(contents, caller_id(), source, not of_rollout(), abandonment(), g.begun, stages())


def refuse_other_origins() -> None:
    """Refuse requests of other web pages: a form on any page can send one from a colleague's browser.

    Raises: RequestError.
    """
    origin = request.headers.get("Origin")
    allowed = os.environ.get(ORIGINS_VARIABLE, "").split()
    if origin and _host_of(origin) != request.host and origin not in allowed:
        raise RequestError(
            403, "other_origin", f"expected a request from our own page, got another origin; {ORIGINS_VARIABLE} may allow it"
        )


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def refuse_large_forms() -> None:
    """Refuse forms with many fields or nested texts before they are parsed, which takes many times their size.

    Raises: RequestError.
    """
    if request.mimetype == FORM and request.get_data(parse_form_data=False).count(b"&") > MAX_FIELDS:
        raise wrong_type("application/json, multipart/form-data, image/*")  # an image, most likely: curl's default content type
    if request.mimetype == "multipart/form-data":
        for text in request.form.values():
            refuse_brackets(text)


def is_image() -> bool:
    """Whether the content type is that of raw image bytes."""
    return bool(request.mimetype.startswith("image/") or request.mimetype == "application/octet-stream")


def images_of_message() -> Any:
    """The field `images` of a JSON body, None where it has none: then it may be a message of Seldon's, which is parsed elsewhere."""
    if request.mimetype != "application/json":
        return None
    content = request.get_data()
    if any(field in content[:HEAD_BYTES] for field in SELDON_FIELDS):
        return None
    try:
        body = read_json(content)
    except RequestError:
        return None  # refused with its reason by whoever parses it
    return body.get("images") if isinstance(body, dict) else None


def read_body() -> bytes:
    """The raw body. Raises: RequestError where it is empty."""
    content: bytes = request.get_data(cache=False)
    if not content:
        raise RequestError(400, "empty_body", "expected an image's bytes, got an empty body")
    return content


def is_message() -> bool:
    """Whether the body is JSON or a form; Seldon's own client sends JSON in a form's field."""
    return request.mimetype in ("application/json", "multipart/form-data") or (
        request.mimetype == FORM and "json" in request.form
    )


def read_json_body() -> Any:
    if request.mimetype == FORM and "json" in request.form:
        return read_json(request.form["json"])
    if request.mimetype != "application/json":
        raise wrong_type("application/json")
    return read_json(request.get_data(cache=False))


def drain() -> None:
    """Read on for a while: a client whose connection is closed while it writes never sees the response."""
    if (caller := caller_of(request.environ)) is not None:
        caller.drain(SILENT_UPLOAD_SECONDS)
    stream, deadline, left = request.environ["wsgi.input"], time.monotonic() + SILENT_UPLOAD_SECONDS, 4 * MAX_BODY_BYTES
    try:
        while left > 0 and time.monotonic() < deadline and (part := stream.read(min(left, 2**16))):
            left -= len(part)
    except OSError:
        return


def wrong_type(expected: str) -> RequestError:
    """Return the error for a content type that the route does not accept."""
    content_type = request.mimetype[:60] or "none"
    return RequestError(
        415, "wrong_type", f"expected the content type {expected}, got {content_type}; with curl: -H 'Content-Type: image/jpeg'"
    )


def allow_silence(seconds: float) -> None:
    """Let gunicorn wait so long for the next bytes of the body."""
    connection = request.environ.get("gunicorn.socket")
    if connection is not None:
        connection.settimeout(seconds)
