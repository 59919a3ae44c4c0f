"""Seldon's messages: the images of a request, and the response.

Shapes: B images, S pixels a side, K classes.
"""

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from imageloop.data.preprocessing import UInt8Array
from seldon.service.request_errors import RequestError

MAX_IMAGES = 64
URL_SAFE, SPACE = bytes.maketrans(b"-_", b"+/"), b" \t\r\n"  # base64 as mails wrap it, as addresses and as web pages hold it
# Nested empty lists take thirty times their text in memory; pixels have at most one bracket in eight characters.
SMALL, CHARACTERS_A_CONTAINER = 1000, 6
Contents = list[bytes] | UInt8Array
FORMS = "binData, jsonData {'image': base64} or {'images': [base64, ...]}, data.ndarray of an upright, prepared image or, on /predict, images [base64, ...]"


def parse_message(message: bytes | str | dict[str, Any], side: int) -> Contents:
    """Return the images of a Seldon message, as files' contents or as (B, S, S, 3) uint8.

    Raises: RequestError for something that is no message, or holds no image.
    """
    fields = read_json(message) if isinstance(message, bytes | str) else message
    if not isinstance(fields, dict):
        raise RequestError(400, "wrong_field", f"expected a JSON object with {FORMS}, got {type(fields).__name__}")
    if "binData" in fields:
        return [decode_base64(fields["binData"], "binData")]
    if "jsonData" in fields:
        return _from_json_data(fields["jsonData"])
    if "data" in fields:
        return _from_data(fields["data"], side)
    raise RequestError(400, "wrong_field", f"expected {FORMS}, got {_names(fields)}")


def read_json(text: bytes | str) -> Any:
    """Raises: RequestError; the text itself is not repeated, for it may be an image."""
    if not text:
        raise RequestError(400, "empty_body", f"expected a JSON object with {FORMS}, got an empty body")
    refuse_brackets(text)
    try:
        return json.loads(text)
    except RecursionError as error:
        raise RequestError(400, "not_json", "expected a JSON object, got one that is nested too deeply") from error
    except ValueError as error:
        raise RequestError(
            400, "not_json", "expected a JSON object, got something else; send an image's bytes as image/*"
        ) from error


def refuse_brackets(text: bytes | str) -> None:
    """Raises: RequestError for a text that would take many times its size in memory."""
    if _num_containers(text) > max(SMALL, len(text) // CHARACTERS_A_CONTAINER):
        raise RequestError(400, "not_json", "expected images or a label in JSON, got little but brackets")


def _num_containers(text: bytes | str) -> int:
    return text.count(b"[") + text.count(b"{") if isinstance(text, bytes) else text.count("[") + text.count("{")


def prediction_message(
    names: list[str], probabilities: Sequence[Sequence[float | None]], request_id: str, tags: dict[str, Any]
) -> dict[str, Any]:
    """Return Seldon's response: the probabilities by class name, our request id, and the model."""
    return {"data": {"names": names, "ndarray": probabilities}, "meta": {"puid": request_id, "tags": tags}}


def _from_json_data(value: Any) -> list[bytes]:
    if not isinstance(value, dict) or not ({"image", "images"} & value.keys()):
        raise RequestError(400, "wrong_field", "expected jsonData {'image': base64} or {'images': [base64, ...]}, got neither")
    return encoded_images(value["images"] if "images" in value else [value["image"]], "jsonData.images")


def encoded_images(images: Any, field: str = "images") -> list[bytes]:
    """The contents of a list of images in base64, which `field` of a message holds. Raises: RequestError for anything else."""
    if not isinstance(images, list) or not 1 <= len(images) <= MAX_IMAGES:
        found = f"{len(images)}" if isinstance(images, list) else type(images).__name__
        raise RequestError(422, "wrong_count", f"expected a list of 1 to {MAX_IMAGES} images in {field}, got {found}")
    return [decode_base64(image, f"{field}[{number}]") for number, image in enumerate(images)]


def _from_data(value: Any, side: int) -> UInt8Array:
    if not isinstance(value, dict):
        raise RequestError(400, "wrong_field", "expected data.ndarray or data.tensor, got no object")
    try:
        numbers = value["ndarray"] if "ndarray" in value else value["tensor"]["values"]
        if isinstance(_first_leaf(numbers), str):
            raise RequestError(400, "wrong_field", "expected data.ndarray or data.tensor of numbers, got text")
        # As numbers at once: of texts NumPy would make a table whose every cell is as long as the longest.
        array = np.asarray(numbers, dtype=np.float32)
        if "ndarray" not in value:
            array = array.reshape(value["tensor"]["shape"])
    except (KeyError, TypeError, ValueError, RecursionError, OverflowError) as error:
        raise RequestError(400, "wrong_field", "expected data.ndarray or data.tensor of numbers, got no array") from error
    return checked_pixels(array, side)


def _first_leaf(value: Any) -> Any:
    while isinstance(value, list) and value:
        value = value[0]
    return value


def checked_pixels(array: np.ndarray[Any, Any], side: int) -> UInt8Array:
    """Upright, prepared images. Shapes: (S, S, 3) or (B, S, S, 3) numbers -> (B, S, S, 3) uint8.

    Raises: RequestError for other shapes, counts or values.
    """
    if array.ndim == 3:
        array = array[None]
    if array.ndim != 4 or array.shape[1:] != (side, side, 3):
        raise RequestError(
            422, "wrong_shape", f"expected pixels of shape ({side}, {side}, 3) or (N, {side}, {side}, 3), got {array.shape}"
        )
    if not 1 <= len(array) <= MAX_IMAGES:
        raise RequestError(422, "wrong_count", f"expected 1 to {MAX_IMAGES} images, got {len(array)}")
    if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        raise RequestError(422, "wrong_values", "expected pixels from 0 to 255, got values that are no numbers")
    low, high = float(array.min()), float(array.max())
    if low < 0 or high > 255:
        raise RequestError(422, "wrong_values", f"expected pixels from 0 to 255, got values from {low:g} to {high:g}")
    if high <= 1 and array.dtype.kind == "f" and (array % 1).any():
        raise RequestError(422, "wrong_values", "expected pixels from 0 to 255, got fractions from 0 to 1; multiply them by 255")
    return np.round(array).astype(np.uint8)


def decode_base64(value: Any, field: str) -> bytes:
    """The bytes of base64: in lines, in the alphabet for addresses, as a `data:` URI, too. Raises: RequestError for anything else."""
    if not isinstance(value, str | bytes):
        raise RequestError(400, "wrong_field", f"expected base64 in {field}, got {type(value).__name__}")
    text = value.encode() if isinstance(value, str) else value
    if text.startswith(b"data:"):
        text = text.partition(b",")[2]
    text = text.translate(URL_SAFE, SPACE).rstrip(b"=")
    try:
        return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(400, "wrong_field", f"expected base64 in {field}, got something else") from error


def _names(fields: dict[str, Any]) -> str:
    """Return the names of a message's fields, shortened, without their values."""
    return ", ".join(repr(str(name)[:20]) for name in list(fields)[:5]) or "no field"
