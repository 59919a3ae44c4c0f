"""Turn the bytes of a file into the model's input; training, evaluation and serving all use this module.

Source: the evaluation transform of torchvision's ImageNet recipes (short side to side/0.875, centre crop), with the
scaled decoding of JPEG before it, which gives the same labels at a third of the cost.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imageloop.data.decoding import Container, decode_one
from imageloop.data.settings import Limits

PREPROCESSING_VERSION = "1"  # another number: every prepared image and every feature is made anew
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
    return preprocess_with_header(content, side, limits)[0]


def preprocess_with_header(content: bytes, side: int, limits: Limits) -> tuple[UInt8Array, Container]:
    """Preprocess an image, and read its header."""
    image, container = decode_one(content, side, limits)
    return resize_and_crop(image, side), container
