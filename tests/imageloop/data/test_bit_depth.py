import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from imageloop.data.preprocessing import preprocess
from imageloop.data.settings import Limits
from imageloop.errors import ImageRefusedError

SIDE = 32
RAMP_HW = np.tile(np.linspace(0, 1, 96), (64, 1))  # from black to white


def as_png(samples: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(samples).save(content, "PNG")
    return content.getvalue()


def as_tiff(samples_HW: np.ndarray, sample_format: int, photometric: int = 1, limits: tuple[float, float] | None = None) -> bytes:
    """One strip, little-endian."""
    height, width = samples_HW.shape
    kind = {1: "I", 2: "i", 3: "f"}[sample_format]
    entries = [
        (256, "I", width), (257, "I", height), (258, "H", samples_HW.itemsize * 8), (259, "H", 1), (262, "H", photometric),
        (273, "I", 0), (277, "H", 1), (278, "I", height), (279, "I", samples_HW.nbytes), (339, "H", sample_format),
    ]  # fmt: skip
    if limits:
        entries += [(340, kind, limits[0]), (341, kind, limits[1])]
    start = 8 + 2 + 12 * len(entries) + 4
    types = {"H": 3, "I": 4, "i": 9, "f": 11}
    directory = b"".join(
        struct.pack("<HHI", tag, types[code], 1) + struct.pack(f"<{code}", start if tag == 273 else value).ljust(4, b"\0")
        for tag, code, value in entries
    )
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4) + samples_HW.tobytes()


def rgb_png(samples_HWC: np.ndarray, significant_bits: int | None = None) -> bytes:
    """16 bits a channel, which Pillow cannot write."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    height, width, _ = samples_HWC.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples_HWC)
    bits = chunk(b"sBIT", bytes([significant_bits] * 3)) if significant_bits else b""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + bits + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def expect_ramp(content: bytes, tolerance: float = 2.5) -> None:
    expected = preprocess(as_png((RAMP_HW * 255).astype(np.uint8)), SIDE, Limits())
    assert np.abs(preprocess(content, SIDE, Limits()).astype(int) - expected).max() <= tolerance


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_a_png_of_16_bits_is_scaled_by_the_bits_in_use(bits):
    expect_ramp(as_png((RAMP_HW * (2**bits - 1)).astype(np.uint16)))


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_so_are_colours_of_which_pillow_reads_the_high_byte(bits):
    samples_HW = (RAMP_HW * (2**bits - 1)).astype(np.uint16)

    expect_ramp(rgb_png(np.stack([samples_HW] * 3, axis=2)), tolerance=3)


def test_declared_bits_count_for_an_image_that_is_dark():
    dark_HW = (RAMP_HW * 200).astype(np.uint16)

    image = preprocess(rgb_png(np.stack([dark_HW] * 3, axis=2), significant_bits=12), SIDE, Limits())

    assert image.max() < 20


@pytest.mark.parametrize(("before", "after"), [(255, 256), (1023, 1024), (4095, 4096), (255, 65535)])
def test_one_brighter_pixel_changes_nothing_else(before, after):
    samples = (RAMP_HW * before).astype(np.uint16)
    brighter = samples.copy()
    brighter[-1, -1] = after

    images = [preprocess(as_png(array), SIDE, Limits()).astype(int) for array in (samples, brighter)]

    assert np.abs(images[0] - images[1]).max() <= 2


@pytest.mark.parametrize(
    ("samples", "sample_format", "limits"),
    [
        (RAMP_HW.astype(np.float32), 3, None),
        ((RAMP_HW * 255).astype(np.float32), 3, None),
        ((RAMP_HW * 5000 - 1000).astype(np.float32), 3, None),
        ((RAMP_HW * 5000 - 1000).astype(np.float32), 3, (-1000, 4000)),
        ((RAMP_HW * (2**32 - 1)).astype(np.uint32), 1, None),
        ((RAMP_HW * 4095).astype(np.uint32), 1, None),
        ((RAMP_HW * 3000).astype(np.uint16), 1, (0, 3000)),
        ((RAMP_HW * 4000 - 1000).astype(np.int16), 2, None),
    ],
    ids=["0 to 1", "0 to 255", "any floats", "declared floats", "all of 32 bits", "12 of 32 bits", "declared integers", "signed"],
)
def test_a_tiff_is_scaled_by_its_range(samples, sample_format, limits):
    expect_ramp(as_tiff(samples, sample_format, limits=limits), tolerance=4)


def test_the_least_value_may_be_white():
    inverted = ((1 - RAMP_HW) * 65535).astype(np.uint16)

    expect_ramp(as_tiff(inverted, 1, photometric=0))


@pytest.mark.parametrize("maximum", [100, 255, 1023, 4095, 65535])
@pytest.mark.parametrize("magic", [b"P5", b"P6"])
def test_a_pgm_or_ppm_is_scaled_by_its_maximum(magic, maximum):
    samples = (RAMP_HW * maximum).astype(">u2" if maximum > 255 else np.uint8)
    pixels = samples if magic == b"P5" else np.stack([samples] * 3, axis=2).astype(samples.dtype)

    expect_ramp(magic + b" 96 64 %d\n" % maximum + pixels.tobytes(), tolerance=4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(value):
    samples = RAMP_HW.astype(np.float32)
    samples[3, 3] = value

    with pytest.raises(ImageRefusedError, match="damaged: holds values that are no numbers"):
        preprocess(as_tiff(samples, 3), SIDE, Limits())


def test_an_image_of_one_value_is_read():
    assert preprocess(as_png(np.full((64, 64), 900, np.uint16)), SIDE, Limits()).std() == 0
