"""Make a file readable whose pixels are whole, or nearly: without the side chunks of a PNG, with the end that a JPEG lacks."""

import zlib

import numpy as np
from PIL import Image

PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_PIXELS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
PNG_SIDE_CHUNKS = (b"tRNS", b"eXIf", b"sBIT")  # what changes how pixels are read; kept where the checksum is right
MAX_CHUNKS = 100_000
JPEG_END = b"\xff\xd9"
JPEG_FILL = 128  # the decoder makes pixels grey for which it has no data
MAX_MISSING = 0.1  # share of the rows
PROGRESSIVE = b"\xff\xc2"
START_OF_SCAN = b"\xff\xda"


def without_side_chunks(content: bytes) -> bytes | None:
    """A PNG without text, colour profiles and times, which may be megabytes or have a wrong checksum; None for anything else."""
    if not content.startswith(PNG_START):
        return None
    kept, place = [PNG_START], len(PNG_START)
    for _ in range(MAX_CHUNKS):
        length, name = int.from_bytes(content[place : place + 4], "big"), content[place + 4 : place + 8]
        end = place + 12 + length
        if len(name) < 4 or end > len(content):
            break
        if name in PNG_PIXELS or (name in PNG_SIDE_CHUNKS and _is_whole(content, place, length)):
            kept.append(content[place:end])
        if name == b"IEND":
            break
        place = end
    return b"".join(kept)


def with_end(content: bytes) -> bytes | None:
    """A JPEG with the end marker that it lacks; None for anything else, and for a progressive one whose last scan has not begun."""
    if content[:2] != b"\xff\xd8" or (PROGRESSIVE in content and not _has_last_scan(content)):
        return None
    return content + JPEG_END


def is_nearly_whole(image: Image.Image) -> bool:
    """Whether the decoder had data for nine of ten rows of a JPEG without its end."""
    pixels_HWC = np.atleast_3d(np.asarray(image))
    has_data = (pixels_HWC != JPEG_FILL).any(axis=(1, 2))
    last = int(np.flatnonzero(has_data).max(initial=-1))
    return bool(last + 1 >= (1 - MAX_MISSING) * image.height)


def _is_whole(content: bytes, place: int, length: int) -> bool:
    end = place + 8 + length
    return zlib.crc32(content[place + 4 : end]) == int.from_bytes(content[end : end + 4], "big")


def _has_last_scan(content: bytes) -> bool:
    """Whether a scan that refines all coefficients to the last bit has begun: each earlier one lacks much of the image.

    A scan's header: length, number of components, two bytes for each, first and last coefficient, bit positions.
    """
    place = content.find(START_OF_SCAN)
    while place >= 0:
        header = content[place + 4 : place + 8 + 2 * content[place + 4]] if place + 4 < len(content) else b""
        if len(header) >= 4 and header[-3] > 0 and header[-2] == 63 and header[-1] & 15 == 0:
            return True
        place = content.find(START_OF_SCAN, place + 2)
    return False
