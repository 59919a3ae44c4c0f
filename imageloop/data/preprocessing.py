"""Turn the bytes of a file into the model's input; training, evaluation and serving all use this module.

Source: the evaluation transform of torchvision's ImageNet recipes (short side to side/0.875, centre crop), with the
scaled decoding of JPEG before it, which gives the same labels at a third of the cost.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imageloop.data.decoding import decode, decode_one
from imageloop.data.image_checks import Container, OpenedImage, open_all
from imageloop.data.settings import Limits
from imageloop.errors import ImageRefusedError

PREPROCESSING_VERSION = "1"  # another number: every prepared image and every feature is made anew
DECODING_VERSION = "2"  # of files with more than 8 bits a sample and rare kinds; others are decoded as they were in version 1
CACHE_VERSION = f"{PREPROCESSING_VERSION}.{DECODING_VERSION}"
CROP_SHARE = 0.875
UInt8Array = NDArray[np.uint8]


def resize_and_crop(image: Image.Image, side: int) -> UInt8Array:
    """Scale the short side to `side` / 0.875 and keep the centre square, in one resampling.

    Shapes: any RGB image -> (side, side, 3) uint8.
    """
    width, height = image.size
    square = min(width, height) * CROP_SHARE
    left, top = (width - square) / 2, (height - square) / 2
    box = (left, top, left + square, top + square)
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR, box=box))


def preprocess(content: bytes, side: int, limits: Limits) -> UInt8Array:
    """Turn the bytes of a file into the model's input.

    Shapes: bytes -> (side, side, 3) uint8.
    Raises: ImageRefusedError.
    """
    return resize_and_crop(decode_one(content, side, limits)[0], side)


def resize_preprocessed(images_BSSC: UInt8Array, side: int) -> UInt8Array:
    """Preprocessed images for a model that sees fewer pixels.

    Shapes: (B, S, S, 3) uint8 -> (B, side, side, 3) uint8.
    """
    if images_BSSC.shape[1] == side:
        return images_BSSC
    resized = [np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)) for image in images_BSSC]
    return np.stack(resized) if resized else np.empty((0, side, side, 3), np.uint8)


class PreprocessedMessage(NamedTuple):
    """The usable images of a message, (B, S, S, 3) uint8, with their numbers in it and their headers; and why the others are refused."""

    images_BSSC: UInt8Array
    numbers: list[int]
    containers: list[Container]
    refused: dict[int, ImageRefusedError]


def preprocess_message(
    contents: Sequence[bytes], side: int, limits: Limits, before_each: Callable[[], None]
) -> PreprocessedMessage:
    """Preprocess the images of one message, whose headers are all checked before the first is decoded.

    `before_each` is called before each is decoded, and may raise to end the work.
    Shapes: files' contents -> B usable ones, (B, side, side, 3) uint8.
    Raises: ImageRefusedError where all of them take too much together.
    """
    opened = deque(open_all(contents, side, limits))
    found = PreprocessedMessage(np.empty((len(contents), side, side, 3), np.uint8), [], [], {})
    for number in range(len(contents)):
        before_each()
        try:
            image, container = _decoded(opened.popleft(), side)  # one in memory at a time
        except ImageRefusedError as error:
            found.refused[number] = error
            continue
        found.images_BSSC[len(found.numbers)] = resize_and_crop(image, side)
        found.numbers.append(number)
        found.containers.append(container)
    return found._replace(images_BSSC=found.images_BSSC[: len(found.numbers)])


def _decoded(opened: OpenedImage | ImageRefusedError, side: int) -> tuple[Image.Image, Container]:
    """Raises: ImageRefusedError."""
    if isinstance(opened, ImageRefusedError):
        raise opened
    return decode(opened, side)
