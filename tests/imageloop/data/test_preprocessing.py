import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from imageloop.data.preprocessing import preprocess, preprocess_message
from imageloop.data.settings import Limits
from imageloop.errors import ImageRefusedError


def encode(image: Image.Image, kind: str, **options) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


RED = Image.new("RGB", (80, 60), (200, 30, 30))


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("RGB", "JPEG"),
        ("L", "JPEG"),
        ("CMYK", "JPEG"),
        ("P", "PNG"),
        ("RGBA", "PNG"),
        ("LA", "PNG"),
        ("P", "GIF"),
        ("RGB", "WEBP"),
        ("RGB", "BMP"),
        ("1", "PNG"),
    ],
)
def test_every_mode_and_format_becomes_rgb_of_the_requested_size(mode, kind):
    content = encode(RED.convert(mode), kind)

    image = preprocess(content, 32, Limits())

    assert image.shape == (32, 32, 3)
    assert image.dtype == np.uint8


@pytest.mark.parametrize("mode", ["CMYK", "P", "RGBA"])
def test_the_colour_survives_the_mode(mode):
    kind = "JPEG" if mode == "CMYK" else "PNG"

    image = preprocess(encode(RED.convert(mode), kind), 32, Limits())

    assert np.abs(image.mean((0, 1)) - [200, 30, 30]).max() < 30


def test_sixteen_bits_keep_their_brightness():
    grey = Image.fromarray(np.full((64, 64), 32768, np.uint16))

    image = preprocess(encode(grey, "PNG"), 32, Limits())

    assert abs(image.mean() - 127) < 3


def test_transparent_places_are_white():
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    image.putpixel((0, 0), (0, 0, 0, 255))

    assert preprocess(encode(image, "PNG"), 32, Limits()).min() == 255


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_an_alpha_channel_that_is_0_everywhere_has_no_meaning(mode):
    image = Image.new("RGBA", (64, 64), (200, 200, 200, 0)).convert(mode)

    assert set(preprocess(encode(image, "PNG"), 32, Limits()).ravel()) == {200}


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]

    image = preprocess(encode(frames[0], "GIF", save_all=True, append_images=frames[1:]), 32, Limits())

    assert image[0, 0, 0] > 200 > image[0, 0, 2] + 150


def test_an_image_taken_with_a_turned_camera_is_turned_upright():
    half = Image.new("RGB", (100, 100), "black")
    half.paste("white", (0, 0, 100, 50))
    turned = Image.Exif()
    turned[0x0112] = 3  # upside down

    image = preprocess(encode(half, "JPEG", exif=turned, quality=95), 32, Limits())

    assert image[:8].mean() < 30 < 220 < image[-8:].mean()


def bomb(side: int) -> bytes:
    """A PNG that claims side x side pixels in a few bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not_an_image"),
        (b"some text that ends in .jpg", "not_an_image"),
        (encode(RED, "JPEG")[:-60], "damaged"),
        (encode(RED, "PNG")[:60], "damaged"),
        (encode(Image.new("RGB", (1, 1)), "PNG"), "too_small"),
        (bomb(20_000), "too_many_pixels"),
        (bomb(300), "damaged"),
        (b"P3 1000 700 255\n" + b"#\n" * 500_000, "unsupported_format"),
        (b"P6\n" + b"#\n" * 500_000 + b"1000 700 255\n", "unsupported_format"),
        (b"BM" + bytes(28) + b"\1\0\0\0" + bytes(1000), "unsupported_format"),
    ],
)
def test_an_unusable_image_is_refused_with_its_reason(content, reason):
    with pytest.raises(ImageRefusedError) as refused:
        preprocess(content, 32, Limits())

    assert refused.value.reason == reason


def test_a_file_above_the_limit_is_refused_unread():
    with pytest.raises(ImageRefusedError, match="too_large"):
        preprocess(encode(RED, "PNG"), 32, Limits(max_bytes=10))


def test_the_header_describes_the_whole_file():
    """A large JPEG is decoded at a reduced scale."""
    large = Image.new("RGB", (2400, 1800), (10, 200, 30))

    found = preprocess_message([encode(large, "JPEG")], 224, Limits(), lambda: None)

    assert found.containers == [(2400, 1800, "JPEG")]
    assert found.images_BSSC.shape == (1, 224, 224, 3)


def test_a_bad_image_of_a_message_is_refused_alone():
    red, blue = (encode(Image.new("RGB", (80, 60), colour), "PNG") for colour in ("red", "blue"))
    damaged = encode(Image.effect_noise((80, 60), 60).convert("RGB"), "PNG")[:2000]

    found = preprocess_message([b"no image", red, damaged, blue], 32, Limits(min_side_pixels=8), lambda: None)

    assert (found.numbers, len(found.containers)) == ([1, 3], 2)
    assert [image[0, 0].tolist() for image in found.images_BSSC] == [[255, 0, 0], [0, 0, 255]]
    assert {number: error.reason for number, error in found.refused.items()} == {0: "not_an_image", 2: "damaged"}


@pytest.mark.parametrize("tag", [0x0128, 0x011A])  # the resolution's unit and value
def test_a_wrong_tag_beside_the_orientation_does_no_harm(tag):
    """Pillow reads it and would fail to write it again."""
    written = io.BytesIO()
    halves = Image.new("RGB", (64, 32), "black")
    halves.paste((255, 255, 255), (32, 0, 64, 32))
    halves.save(written, "JPEG", exif=exif_of(tag))

    turned = preprocess(written.getvalue(), 32, Limits())

    assert turned[:4].mean() < 30 < 220 < turned[-4:].mean()


def exif_of(wrong: int) -> bytes:
    """Orientation 6, and a tag whose value is text where a number belongs."""
    entries = [(0x0112, 3, 1, struct.pack("<HH", 6, 0)), (wrong, 2, 4, b"two\0")]
    directory = b"".join(struct.pack("<HHI", tag, kind, count) + value for tag, kind, count, value in sorted(entries))
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4)


@pytest.mark.parametrize(
    "content",
    [
        b"P6\n# by a scanner\r# " + b"x" * 2000 + b"\n64 64 255\n" + bytes(64 * 64 * 3),
        b"P5 64 64 100\n" + bytes(64 * 64),
        b"P5 1000 1000 100\n" + bytes(1_000_000),
        b"MM\0*" + struct.pack(">IH", 8, 8) + b"".join(
            struct.pack(">HHI", tag, kind, 1) + (struct.pack(">HH", value, 0) if kind == 3 else struct.pack(">I", value))
            for tag, kind, value in ((256, 3, 64), (257, 3, 64), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, 110), (277, 3, 1), (279, 4, 8192))
        ) + bytes(4) + np.full(64 * 64, 65535, ">u2").tobytes(),
    ],
    ids=["a long comment", "values to 100", "large, values to 100", "16 bit, the high byte first"],
)  # fmt: skip
def test_unusual_files_are_read(content):
    assert preprocess(content, 32, Limits()).shape == (32, 32, 3)
