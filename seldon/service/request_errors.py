"""What a caller is told when a request cannot be answered: Seldon's status shape, with a code to act on."""

from typing import Any

from imageloop.errors import ImageRefusedError

# contract: 400 not a picture, 413 too large, 415 wrong type, 422 readable but refused, 503 full
PICTURE_CODES = {"not_a_picture": 400, "damaged": 400, "too_large": 413, "too_many_pixels": 422, "too_small": 422}


class RequestError(Exception):
    """A request that is refused: `code` as in HTTP, `reason` for programs, `info` for people. Never holds what was sent."""

    def __init__(self, code: int, reason: str, info: str, retry_after_seconds: int | None = None) -> None:
        super().__init__(info)
        self.code, self.reason, self.info = code, reason, info
        self.retry_after_seconds = retry_after_seconds

    def body(self) -> dict[str, Any]:
        return {"status": {"status": "FAILURE", "code": self.code, "reason": self.reason.upper(), "info": self.info}}


def refused_picture(error: ImageRefusedError) -> RequestError:
    """A picture that cannot be used, as an answer."""
    return RequestError(PICTURE_CODES[error.reason], error.reason, f"wanted a usable picture, found one that is {error}")
