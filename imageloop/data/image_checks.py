"""Open an image file: read its header, refuse what cannot be used by its name, and see what decoding it will take."""

import io
import re
import struct
import zlib
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageFile

from imageloop.data.bit_depth import PNM_MAXIMUM, Header, read_header
from imageloop.data.file_kinds import is_heic, kind_of
from imageloop.data.file_repairs import without_side_chunks
from imageloop.data.settings import Limits
from imageloop.errors import ImageRefusedError

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")
PPM_SPACE = rb"(?:\s|#[^\r\n]*[\r\n])+"
PPM_HEADER = re.compile(
    rb"P." + PPM_SPACE + rb"\d+" + PPM_SPACE + rb"\d+(?:" + PPM_SPACE + rb"(\d+))?"
)  # sizes, and the maximum value
PPM_HEADER_BYTES = 4096
BMP_RUNS = (1, 2)  # compression of 8 and of 4 bits
DECODING_BYTES = {"WEBP": 17, "JPEG2000": 20, "AVIF": 10, "HEIF": 8, "JPEG": 7, "MPO": 7}  # of a pixel in memory, measured
OTHER_DECODING_BYTES = 5
LARGE_BYTES = 64 * 2**20  # of memory; such images are decoded one at a time
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
    RuntimeError,
    struct.error,
    zlib.error,
)
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit warns first and raises late; `Limits` are checked before decoding


class Container(NamedTuple):
    """The header of an image file; `format` says so where a JPEG lacks its end. Units: pixels."""

    width: int
    height: int
    format: str


class OpenedImage(NamedTuple):
    """An image whose header is read, and what decoding it will take; a large one is opened again then. Units: bytes."""

    content: bytes
    image: ImageFile.ImageFile | None
    header: Header
    container: Container
    decoding_bytes: int


def check_size(num_bytes: int, limits: Limits) -> None:
    """Refuse a file that is too large. Raises: ImageRefusedError with the reason `too_large`."""
    if num_bytes > limits.max_bytes:
        raise ImageRefusedError("too_large", f"{num_bytes} bytes, {limits.max_bytes} allowed")


def open_all(contents: Sequence[bytes], side: int, limits: Limits) -> list[OpenedImage | ImageRefusedError]:
    """Read the headers of a message's images, before anything is decoded: each opened, or why it is not worth decoding.

    Raises: ImageRefusedError, `too_many_pixels`, where all of them take more than twice the memory that one of them may take: they are
    decoded one after the other, so that is a limit on time.
    """
    opened: list[OpenedImage | ImageRefusedError] = []
    total = 0
    for content in contents:
        try:
            image = open_image(content, side, limits)
        except ImageRefusedError as error:
            opened.append(error)
            continue
        opened.append(image)
        total += image.decoding_bytes
        if total > 2 * limits.max_decoding_bytes:
            raise ImageRefusedError(
                "too_many_pixels",
                f"{len(contents)} images in one message are too many of this size; send fewer at once, or smaller ones",
            )
    return opened


def open_image(content: bytes, side: int, limits: Limits) -> OpenedImage:
    """Read the header of an image, and refuse what is not worth decoding.

    Raises: ImageRefusedError with the reason `too_large`, `not_an_image`, `unsupported_format`, `too_many_pixels` or `too_small`.
    """
    check_size(len(content), limits)
    _refuse_slow_formats(content)
    image = _open(content)
    container = Container(image.width, image.height, str(image.format))  # now: a reduced scale changes the size
    check_pixels(container, limits)
    header = read_header(image, content)
    _reduce(image, max(512, 2 * side))
    decoding_bytes = _decoding_bytes(image, container)
    if decoding_bytes > limits.max_decoding_bytes:
        raise ImageRefusedError(
            "too_many_pixels",
            f"{container.width} x {container.height} as {container.format} take {decoding_bytes // 2**20} MB of memory to decode, "
            f"{limits.max_decoding_bytes // 2**20} allowed; save it as JPEG, or scale it down",
        )
    is_large = decoding_bytes > LARGE_BYTES
    return OpenedImage(content, None if is_large else image, header, container, decoding_bytes)


def check_pixels(container: Container, limits: Limits) -> None:
    """Refuse an image by its size. Raises: ImageRefusedError with the reason `too_many_pixels` or `too_small`."""
    width, height, _ = container
    if width * height > limits.max_pixels:
        raise ImageRefusedError("too_many_pixels", f"{width} x {height}, {limits.max_pixels} pixels allowed")
    if min(width, height) < limits.min_side_pixels:
        raise ImageRefusedError("too_small", f"{width} x {height}, {limits.min_side_pixels} expected on the short side")


def open_reduced(content: bytes, scaled_side: int) -> ImageFile.ImageFile:
    """Open a file whose header was checked, to be decoded at a reduced scale where the format has one."""
    image = _open(content)
    _reduce(image, scaled_side)
    return image


def _open(content: bytes) -> ImageFile.ImageFile:
    try:
        return open_with_pillow(content)
    except DAMAGE as error:
        kept = without_side_chunks(content)
        if kept is not None:
            try:
                return open_with_pillow(kept)
            except DAMAGE:
                raise ImageRefusedError("damaged", f"a PNG without a readable header ({error})") from error
        refuse_by_kind(content, error)
        raise


def refuse_by_kind(content: bytes, error: Exception, *, only_images: bool = False) -> None:
    """Raises: ImageRefusedError that names what the file is; with `only_images`, only where that is an image of another format."""
    kind = kind_of(content)
    if kind.is_image:
        raise ImageRefusedError("unsupported_format", f"{kind.name}; {kind.remedy}") from error
    if not only_images:
        raise ImageRefusedError("not_an_image", f"{kind.name}; {kind.remedy}") from error


def open_with_pillow(content: bytes) -> ImageFile.ImageFile:
    """Open a file in one of our formats. Raises: one of `DAMAGE`."""
    formats: tuple[str, ...] = FORMATS
    if is_heic(content):
        from pi_heif import register_heif_opener

        register_heif_opener()
        formats = (*FORMATS, "HEIF")
    image = Image.open(io.BytesIO(content), formats=formats)
    if image.format == "PPM":
        _read_fast(image)
    return image


def _reduce(image: ImageFile.ImageFile, scaled_side: int) -> None:
    """Ask for a reduced scale, where the format has one."""
    if image.format == "JPEG2000":
        scale = min(image.size) // scaled_side
        image.reduce = max(0, scale.bit_length() - 1)  # halvings: Pillow's name for it
        return
    image.draft("RGB", (scaled_side, scaled_side))


def _decoding_bytes(image: ImageFile.ImageFile, container: Container) -> int:
    """What decoding takes: of the whole image, or of the reduced one where the format needs no more."""
    of_a_pixel = DECODING_BYTES.get(container.format, OTHER_DECODING_BYTES)
    if container.format in ("JPEG", "MPO") and not image.info.get("progressive"):
        return int(image.width * image.height * of_a_pixel)
    halvings = int(getattr(image, "_reduce", 0)) if container.format == "JPEG2000" else 0
    return container.width * container.height * of_a_pixel >> 2 * halvings


def _refuse_slow_formats(content: bytes) -> None:
    """Formats that Pillow decodes in Python, with the interpreter's lock: a megabyte of them would block a service for 20 s."""
    if content[:2] in (b"P1", b"P2", b"P3"):
        raise ImageRefusedError("unsupported_format", "PPM as text takes minutes to read; save it as PNG")
    if content[:2] in (b"P4", b"P5", b"P6", b"Pf") and PPM_HEADER.match(content[:PPM_HEADER_BYTES]) is None:
        raise ImageRefusedError("unsupported_format", f"PPM without a size in its first {PPM_HEADER_BYTES} bytes; save it as PNG")
    if content[:2] == b"BM" and int.from_bytes(content[30:34], "little") in BMP_RUNS:
        raise ImageRefusedError("unsupported_format", "BMP in runs takes minutes to read; save it as PNG")


def _read_fast(image: ImageFile.ImageFile) -> None:
    """Let Pillow read samples as they are, where it would scale each in Python; `bit_depth` scales them."""
    if not image.tile or image.tile[0].codec_name != "ppm":
        return
    maximum = image.tile[0].args[1]
    if image.mode == "I":
        raw = "I;16B"
    elif maximum > 255:
        raw = "RGB;16B"
    else:
        raw = image.mode
    image.info[PNM_MAXIMUM] = maximum
    image.tile = [image.tile[0]._replace(codec_name="raw", args=(raw, 0, 1))]
