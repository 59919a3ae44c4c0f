import io

import pytest
from PIL import Image

from imageloop.data.preprocessing import preprocess
from imageloop.data.settings import Limits
from imageloop.errors import ImageRefusedError

MP4 = b"\0\0\0\x20ftypisom" + bytes(64)
RAW = b"\0\0\0\x18ftypcrx " + bytes(64)
TRUNCATED_HEIC = b"\0\0\0\x18ftypheic" + bytes(64)


def jpeg_of(bits: int, marker: int = 0xC1) -> bytes:
    frame = bytes([0xFF, marker, 0, 11, bits, 0, 64, 0, 64, 1, 1, 0x11, 0])
    return b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0" + frame + bytes(100)


@pytest.mark.parametrize(
    ("content", "reason", "name"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d", "not_an_image", "Git LFS"),
        (b"%PDF-1.7" + bytes(50), "not_an_image", "PDF"),
        (b"PK\3\4" + bytes(50), "not_an_image", "zip"),
        (MP4, "not_an_image", "video"),
        (b"RIFF\0\0\0\0AVI LIST" + bytes(50), "not_an_image", "AVI"),
        (b"<!DOCTYPE html><html><body>Log in", "not_an_image", "HTML"),
        (b'{"error": "no access"}', "not_an_image", "JSON"),
        (b"just some words", "not_an_image", "plain text"),
        (b"", "not_an_image", "empty"),
        (bytes(range(256)), "not_an_image", "no format that we know"),
        (b"\xff\x0a" + bytes(50), "unsupported_format", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(50), "unsupported_format", "JPEG XL"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "unsupported_format", "SVG"),
        (jpeg_of(12), "unsupported_format", "12 bits"),
        (jpeg_of(8, 0xC3), "unsupported_format", "lossless"),
        (b"8BPS" + bytes(50), "unsupported_format", "Photoshop"),
        (bytes(128) + b"DICM" + bytes(50), "unsupported_format", "DICOM"),
        (RAW, "unsupported_format", "raw file"),
        (TRUNCATED_HEIC, "unsupported_format", "HEIC"),
        (b"II*\0\x08\0\0\0" + bytes(50), "unsupported_format", "TIFF"),
    ],
)
def test_what_is_no_image_is_refused_by_its_name(content, reason, name):
    with pytest.raises(ImageRefusedError) as refused:
        preprocess(content, 32, Limits())

    assert refused.value.reason == reason
    assert name in refused.value.detail
    assert ";" in refused.value.detail  # and what to do


@pytest.mark.parametrize("kind", ["AVIF", "JPEG2000"])
def test_newer_formats_are_read(kind):
    content = io.BytesIO()
    Image.new("RGB", (64, 48), (200, 30, 30)).save(content, kind)

    image = preprocess(content.getvalue(), 32, Limits())

    assert abs(image.mean((0, 1)) - [200, 30, 30]).max() < 8
