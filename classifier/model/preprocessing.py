"""From a file's bytes to the model's input: the one way, for training, evaluation and serving.

Source: the evaluation transform of torchvision's ImageNet recipes (short side to side/0.875, centre crop), with the
scaled decoding of JPEG before it, which gives the same answers at a third of the cost.
"""

import io
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from classifier.data.settings import Limits
from classifier.errors import ImageRefusedError

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

PREPROCESSING_VERSION = "1"  # another number: every prepared picture and every feature is made anew
CROP_SHARE = 0.875
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM")
UInt8Array = NDArray[np.uint8]
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit warns first and raises late; `Limits.max_pixels` is checked before decoding


class Container(NamedTuple):
    """What a file says of itself. Units: pixels."""

    width: int
    height: int
    format: str


def open_image(content: bytes, limits: Limits) -> "ImageFile":
    """Read a picture's header and refuse what is not worth decoding.

    Raises: ImageRefusedError with the reason `too_large`, `not_a_picture`, `too_many_pixels` or `too_small`.
    """
    if len(content) > limits.max_bytes:
        raise ImageRefusedError("too_large", f"{len(content)} bytes, {limits.max_bytes} allowed")
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError) as error:
        raise ImageRefusedError("not_a_picture", "no JPEG, PNG, GIF, WebP, BMP, TIFF or PPM") from error
    width, height = image.size
    if width * height > limits.max_pixels:
        raise ImageRefusedError("too_many_pixels", f"{width} x {height}, {limits.max_pixels} pixels allowed")
    if min(width, height) < limits.min_side_pixels:
        raise ImageRefusedError("too_small", f"{width} x {height}, {limits.min_side_pixels} wanted on the short side")
    return image


def decode(image: "ImageFile", side: int) -> Image.Image:
    """Decode to upright RGB, at a reduced scale where the format can; at least twice `side` where the file has that.

    Raises: ImageRefusedError with the reason `damaged`.
    """
    scaled_side = max(512, 2 * side)
    try:
        image.draft("RGB", (scaled_side, scaled_side))
        image.load()
        return _to_rgb(ImageOps.exif_transpose(image))
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, OverflowError) as error:
        raise ImageRefusedError("damaged", f"cannot be decoded ({error})") from error


def resize_and_crop(image: Image.Image, side: int) -> UInt8Array:
    """Scale the short side to `side` / 0.875 and keep the centre square, in one resampling.

    Shapes: any RGB picture -> (side, side, 3) uint8.
    """
    width, height = image.size
    square = min(width, height) * CROP_SHARE
    left, top = (width - square) / 2, (height - square) / 2
    box = (left, top, left + square, top + square)
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR, box=box))


def preprocess(content: bytes, side: int, limits: Limits) -> UInt8Array:
    """From a file's bytes to the model's input.

    Shapes: bytes -> (side, side, 3) uint8.
    Raises: ImageRefusedError.
    """
    return see(content, side, limits)[0]


def see(content: bytes, side: int, limits: Limits) -> tuple[UInt8Array, Container]:
    """The same, and what the file says of itself."""
    image = open_image(content, limits)
    container = Container(image.width, image.height, str(image.format))  # now: decoding at a reduced scale changes the size
    return resize_and_crop(decode(image, side), side), container


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I") or image.mode == "F":  # 16 bit: keep the high byte, `convert` would clip
        values = np.asarray(image, dtype=np.float64)
        scale = 257.0 if values.max(initial=0) > 255 else 1.0
        return Image.fromarray((values / scale).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")
