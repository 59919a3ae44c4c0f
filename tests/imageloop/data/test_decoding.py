import io

import numpy as np
import pytest
from PIL import Image

from imageloop.data.decoding import decode_one
from imageloop.data.image_checks import open_all
from imageloop.data.preprocessing import resize_and_crop
from imageloop.data.settings import Limits
from imageloop.errors import ImageRefusedError

ODD_IMAGES = {
    "bad_crc_ancillary_png__dog4004.png": "ref_rgb__dog4004.png",
    "bmp32v5_alpha0__dog4004.bmp": "ref_rgb__dog4004.png",
    "heic__dog4004.heic": "ref_rgb__dog4004.png",
    "no_eoi_jpeg__dog4004.jpg": "ref_rgb__dog4004.png",
    "ztxt_2mb_png__dog4004.png": "ref_rgb__dog4004.png",
    "dog_uint16_max255.png": "ref_gray__dog4004.png",
    "dog_uint16_max256.png": "ref_gray__dog4004.png",
    "float01_tiff__dog4004.tif": "ref_gray__dog4004.png",
    "gray10in16_png__dog4004.png": "ref_gray__dog4004.png",
    "uint32full_tiff__dog4004.tif": "ref_gray__dog4004.png",
}


def blank(width: int, height: int, kind: str, **options) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (width, height), (90, 120, 30)).save(content, kind, **options)
    return content.getvalue()


@pytest.mark.parametrize("name", ODD_IMAGES)
def test_an_odd_image_is_read_as_its_reference(photographs, name):
    folder = photographs / "odd_images"

    odd, reference = (
        resize_and_crop(decode_one((folder / file).read_bytes(), 224, Limits())[0], 224).astype(int)
        for file in (name, ODD_IMAGES[name])
    )

    assert np.abs(odd - reference).mean() < 1


def test_a_large_jpeg_is_read_at_a_reduced_scale():
    image, container = decode_one(blank(12_000, 9_000, "JPEG"), 224, Limits())

    assert container[:2] == (12_000, 9_000)
    assert min(image.size) < 1300


def test_other_large_formats_are_limited_by_the_memory_that_they_take():
    with pytest.raises(
        ImageRefusedError, match="5000 x 6000 as WEBP take 486 MB of memory to decode, 400 allowed; save it as JPEG"
    ):
        decode_one(blank(5_000, 6_000, "WEBP", quality=1, method=0), 224, Limits())


def test_a_large_image_is_reduced_after_decoding():
    image, _ = decode_one(blank(5_000, 4_000, "PNG", compress_level=1), 224, Limits())

    assert image.size == (715, 572)
    assert image.getpixel((300, 300)) == (90, 120, 30)


def test_a_message_is_limited_as_a_whole_before_anything_is_decoded(monkeypatch):
    large = blank(3_000, 3_000, "WEBP", quality=1, method=0)
    monkeypatch.setattr("imageloop.data.decoding.decode", None)

    with pytest.raises(ImageRefusedError, match="too_many_pixels: 64 images in one message are too many of this size"):
        open_all([large] * 64, 224, Limits())
    assert len(open_all([blank(1_000, 800, "JPEG")] * 64, 224, Limits())) == 64
