import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from imageloop.data.decoding import decode_one
from imageloop.data.settings import Limits
from imageloop.errors import ImageRefusedError

PIXELS_HWC = np.random.default_rng(1).integers(0, 255, (200, 160, 3)).astype(np.uint8)
SMOOTH = Image.fromarray(PIXELS_HWC).resize((20, 25)).resize((160, 200), Image.Resampling.BICUBIC)


def encode(kind: str, **options) -> bytes:
    content = io.BytesIO()
    SMOOTH.save(content, kind, **options)
    return content.getvalue()


def with_chunk(name: bytes, body: bytes, checksum: int | None = None) -> bytes:
    """A PNG with one more chunk before its pixels."""
    content = encode("PNG")
    place = content.index(b"IDAT") - 4
    checksum = zlib.crc32(name + body) if checksum is None else checksum
    return content[:place] + struct.pack(">I", len(body)) + name + body + struct.pack(">I", checksum) + content[place:]


@pytest.mark.parametrize(
    "content",
    [
        with_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 3_000_000)),
        with_chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(3_000_000))),
        with_chunk(b"tEXt", b"Comment\0" + b"x" * 3_000_000),
        with_chunk(b"gAMA", b"\0\0\xb1\x8f", checksum=1),
        with_chunk(b"eXIf", b"Exif", checksum=1),
        encode("PNG")[:-12],
        encode("PNG") + b"something behind it",
    ],
    ids=["compressed text", "profile", "text", "wrong checksum", "wrong checksum of EXIF", "no end", "more behind the end"],
)
def test_a_png_whose_pixels_are_whole_is_read_whatever_stands_beside_them(content):
    image, container = decode_one(content, 32, Limits())

    assert np.array_equal(np.asarray(image), np.asarray(SMOOTH))
    assert container == (160, 200, "PNG")


def test_a_png_with_damaged_pixels_is_refused():
    content = bytearray(encode("PNG"))
    content[content.index(b"IDAT") + 2000] ^= 255

    with pytest.raises(ImageRefusedError, match="damaged"):
        decode_one(bytes(content), 32, Limits())


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}], ids=["baseline", "progressive", "4:4:4"])
@pytest.mark.parametrize("missing", [2, 20])
def test_a_jpeg_without_its_end_is_used_and_named(options, missing):
    whole = encode("JPEG", quality=90, **options)

    image, container = decode_one(whole[:-missing], 32, Limits())

    expected = np.asarray(decode_one(whole, 32, Limits())[0]).astype(int)
    assert container.format == "JPEG (incomplete)"
    assert np.abs(np.asarray(image).astype(int) - expected).mean() < 3


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
@pytest.mark.parametrize("share", [0.3, 0.6])
def test_a_jpeg_that_lacks_much_is_refused(options, share):
    whole = encode("JPEG", quality=90, **options)
    start = whole.index(b"\xff\xda")

    with pytest.raises(ImageRefusedError, match="damaged"):
        decode_one(whole[: start + int(share * (len(whole) - start))], 32, Limits())
