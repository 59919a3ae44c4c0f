"""Turn the bytes of a file into the model's input; training, evaluation and serving all use this module.

Source: the evaluation transform of torchvision's ImageNet recipes (short side to side/0.875, centre crop), with the
scaled decoding of JPEG before it, which gives the same labels at a third of the cost.
"""

from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imageloop.data.decoding import decode, decode_one
from imageloop.data.image_checks import Container, open_all
from imageloop.data.settings import Limits

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


def preprocess_message(
    contents: Sequence[bytes], side: int, limits: Limits, before_each: Callable[[], None]
) -> tuple[UInt8Array, list[Container]]:
    """Preprocess the images of one message, whose headers are all checked before the first is decoded.

    `before_each` is called before each is decoded, and may raise to end the work.
    Shapes: B files' contents -> (B, side, side, 3) uint8, B headers.
    Raises: ImageRefusedError.
    """
    opened = deque(open_all(contents, side, limits))
    images_BSSC, containers = np.empty((len(contents), side, side, 3), np.uint8), []
    for index in range(len(contents)):
        before_each()
        image, container = decode(opened.popleft(), side)  # one in memory at a time
        images_BSSC[index] = resize_and_crop(image, side)
        containers.append(container)
    return images_BSSC, containers
