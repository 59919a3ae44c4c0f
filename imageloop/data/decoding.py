"""Decode one image: read its header, refuse what cannot be used, and give upright RGB pixels."""

import io
import re
import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from imageloop.data.settings import Limits
from imageloop.errors import ImageRefusedError

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM")
PPM_SPACE = rb"(?:\s|#[^\r\n]*[\r\n])+"
PPM_HEADER = re.compile(
    rb"P." + PPM_SPACE + rb"\d+" + PPM_SPACE + rb"\d+(?:" + PPM_SPACE + rb"(\d+))?"
)  # sizes, and the maximum value
PPM_HEADER_BYTES = 4096
PPM_FAST = (b"255", b"65535")  # other maximum values are scaled in Python
PYTHON_BYTES = 2**18  # decoding so many takes a third of a second
BMP_RUNS = (1, 2)  # compression of 8 and of 4 bits
ORIENTATION = 0x0112  # EXIF's tag; how to turn the image for each of its values
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
DAMAGE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    OverflowError,
    TypeError,
    AttributeError,
    KeyError,
    struct.error,
)
BAND_PIXELS = 1_000_000
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit warns first and raises late; `Limits.max_pixels` is checked before decoding


class Container(NamedTuple):
    """The header of an image file. Units: pixels."""

    width: int
    height: int
    format: str


def decode_one(content: bytes, side: int, limits: Limits) -> tuple[Image.Image, Container]:
    """Decode an image to upright RGB, at least twice `side` where the file has that, and read its header.

    Raises: ImageRefusedError.
    """
    image = open_image(content, limits)
    container = Container(image.width, image.height, str(image.format))  # now: decoding at a reduced scale changes the size
    return decode(image, side), container


def check_size(num_bytes: int, limits: Limits) -> None:
    """Refuse a file that is too large. Raises: ImageRefusedError with the reason `too_large`."""
    if num_bytes > limits.max_bytes:
        raise ImageRefusedError("too_large", f"{num_bytes} bytes, {limits.max_bytes} allowed")


def open_image(content: bytes, limits: Limits) -> "ImageFile":
    """Read the header of an image, and refuse what is not worth decoding.

    Raises: ImageRefusedError with the reason `too_large`, `not_an_image`, `too_many_pixels` or `too_small`.
    """
    check_size(len(content), limits)
    if _is_read_by_python(content):
        raise ImageRefusedError(
            "not_an_image", "PPM as text or with values that need scaling, or BMP in runs: they take minutes to read"
        )
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError) as error:
        raise ImageRefusedError("not_an_image", "no JPEG, PNG, GIF, WebP, BMP, TIFF or PPM") from error
    width, height = image.size
    if width * height > limits.max_pixels:
        raise ImageRefusedError("too_many_pixels", f"{width} x {height}, {limits.max_pixels} pixels allowed")
    if min(width, height) < limits.min_side_pixels:
        raise ImageRefusedError("too_small", f"{width} x {height}, {limits.min_side_pixels} expected on the short side")
    return image


def decode(image: "ImageFile", side: int) -> Image.Image:
    """Decode to upright RGB, at a reduced scale where the format can; at least twice `side` where the file has that.

    Raises: ImageRefusedError with the reason `damaged`.
    """
    scaled_side = max(512, 2 * side)
    try:
        image.draft("RGB", (scaled_side, scaled_side))
        image.load()
        return _upright(image)
    except DAMAGE as error:
        raise ImageRefusedError("damaged", f"cannot be decoded ({error})") from error


def _is_read_by_python(content: bytes) -> bool:
    """Formats that Pillow decodes in Python, with the interpreter's lock: a megabyte of them would block a service for 20 s."""
    if content[:2] in (b"P1", b"P2", b"P3"):
        return True
    if content[:2] in (b"P4", b"P5", b"P6", b"Pf"):
        header = PPM_HEADER.match(content[:PPM_HEADER_BYTES])
        return header is None or (content[:2] in (b"P5", b"P6") and header[1] not in PPM_FAST and len(content) > PYTHON_BYTES)
    return content[:2] == b"BM" and int.from_bytes(content[30:34], "little") in BMP_RUNS


def _upright(image: Image.Image) -> Image.Image:
    """Convert to RGB, turned by the EXIF orientation. The rest of the EXIF is ignored: cameras write wrong types, which Pillow refuses to write."""
    try:
        turn = TURNS.get(image.getexif().get(ORIENTATION))
    except Exception:  # whatever a parser of foreign bytes raises: then the image counts as upright
        turn = None
    rgb = _to_rgb(image)
    return rgb if turn is None else rgb.transpose(turn)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I") or image.mode == "F":  # 16 bit: keep the high byte, `convert` would clip
        highest = np.max([np.asarray(band).max() for _, band in _bands(image)])
        scale = 257.0 if highest > 255 else 1.0
        return _in_bands(image, lambda band: _high_byte(band, scale))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        return _in_bands(image, _on_white)
    return image.convert("RGB")


def _high_byte(band: Image.Image, scale: float) -> Image.Image:
    values = np.asarray(band, dtype=np.float64) / scale
    return Image.fromarray(values.clip(0, 255).astype(np.uint8)).convert("RGB")


def _on_white(band: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", band.size, "white"), band.convert("RGBA")).convert("RGB")


def _in_bands(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Convert some rows at a time: all at once would take ten times the memory of the image, which may have 50 million pixels."""
    rgb = Image.new("RGB", image.size)
    for top, band in _bands(image):
        rgb.paste(convert(band), (0, top))
    return rgb


def _bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    rows = max(1, BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))
