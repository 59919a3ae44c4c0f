"""Errors of requests, in Seldon's status format, with a reason code for programs."""

from typing import Any

from imageloop.errors import ImageRefusedError

# contract: 400 not an image, 413 too large, 415 wrong type or format, 422 readable but refused, 499 caller gone, 503 full
IMAGE_CODES = {
    "not_an_image": 400,
    "damaged": 400,
    "unsupported_format": 415,
    "too_large": 413,
    "too_many_pixels": 422,
    "too_small": 422,
}

ABANDONED = 499  # the caller closed the connection


class RequestError(Exception):
    """A rejected request: `code` as in HTTP, `reason` for programs, `info` for people. Never holds what was sent."""

    def __init__(self, code: int, reason: str, info: str, retry_after_seconds: int | None = None) -> None:
        super().__init__(info)
        self.code, self.reason, self.info = code, reason, info
        self.retry_after_seconds = retry_after_seconds

    def body(self) -> dict[str, Any]:
        return {"status": self.shown()}

    def shown(self) -> dict[str, Any]:
        """The error as responses hold it, as a whole or in the place of one image of several."""
        return {"status": "FAILURE", "code": self.code, "reason": self.reason.upper(), "info": self.info}


def refused_image(error: ImageRefusedError) -> RequestError:
    """Return the error of an image that cannot be used."""
    return RequestError(IMAGE_CODES[error.reason], error.reason, f"expected a usable image, got one that is {error}")
