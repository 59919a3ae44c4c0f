"""Refuse a large body before it is read."""

from flask import request

from seldon.service.request_errors import RequestError

MAX_BODY_BYTES = 50 * 2**20  # as `Limits.max_bytes`: what training reads is predicted as well


def refuse_large_body() -> None:
    """Refuse a body that is declared larger than the limit, before it is read.

    Raises: RequestError.
    """
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise RequestError(413, "too_large", f"expected at most {MAX_BODY_BYTES} bytes, got {request.content_length}")


def declared_bytes() -> int:
    """The bytes of the body, for the limit of all bodies; the most allowed where the request does not declare them."""
    length = request.content_length
    return MAX_BODY_BYTES if length is None and request.headers.get("Transfer-Encoding") else min(length or 0, MAX_BODY_BYTES)
