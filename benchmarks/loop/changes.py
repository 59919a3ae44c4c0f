"""Changes of images, each in three strengths. They change what the model receives: (S, S, 3) uint8 -> the same."""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from imageloop.data.preprocessing import UInt8Array

Change = Callable[[Image.Image, np.random.Generator], Image.Image]


def _blur(pixels: float) -> Change:
    return lambda image, _: image.filter(ImageFilter.GaussianBlur(pixels))


def _noise(deviation: float) -> Change:
    return lambda image, rng: _of_values(np.asarray(image, np.float32) + rng.normal(0, deviation, (image.height, image.width, 3)))


def _darkness(gain: float) -> Change:
    return lambda image, _: image.point(lambda value: value * gain)


def _jpeg(quality: int) -> Change:
    def saved(image: Image.Image, _: np.random.Generator) -> Image.Image:
        out = io.BytesIO()
        image.save(out, "JPEG", quality=quality)
        return Image.open(out).convert("RGB")

    return saved


def _contrast(gain: float) -> Change:
    return lambda image, _: ImageEnhance.Contrast(image).enhance(gain)


def _inversion(share: float) -> Change:
    return lambda image, _: image.point(lambda value: value + share * (255 - 2 * value))


def camera(strength: float) -> Change:
    """Warmer, with more contrast, sharpened."""

    def taken(image: Image.Image, _: np.random.Generator) -> Image.Image:
        red, green, blue = image.split()
        warmer = Image.merge(
            "RGB",
            (red.point(lambda v: v * (1 + 0.1 * strength)), green, blue.point(lambda v: v * (1 - 0.1 * strength))),
        )
        contrasted = ImageEnhance.Contrast(warmer).enhance(1 + 0.2 * strength)
        return contrasted.filter(ImageFilter.UnsharpMask(2, int(80 * strength)))

    return taken


def _crop(zoom: float) -> Change:
    def cut(image: Image.Image, rng: np.random.Generator) -> Image.Image:
        width, height = image.width / zoom, image.height / zoom
        left, top = rng.uniform(0, image.width - width), rng.uniform(0, image.height - height)
        return image.resize(image.size, Image.Resampling.BILINEAR, box=(left, top, left + width, top + height))

    return cut


CHANGES: dict[str, tuple[Change, Change, Change]] = {
    "blur": (_blur(1), _blur(2), _blur(4)),
    "noise": (_noise(15), _noise(40), _noise(80)),
    "darkness": (_darkness(0.6), _darkness(0.35), _darkness(0.15)),
    "JPEG": (_jpeg(30), _jpeg(12), _jpeg(5)),
    "contrast": (_contrast(0.6), _contrast(0.3), _contrast(0.15)),
    "inversion": (_inversion(0.75), _inversion(0.9), _inversion(1.0)),
    "another camera": (camera(1), camera(2), camera(4)),
    "crop and shift": (_crop(1.3), _crop(1.8), _crop(2.5)),
}


def changed(image_SSC: UInt8Array, change: Change, seed: int) -> UInt8Array:
    """One image, changed; the same seed gives the same change."""
    return np.asarray(change(Image.fromarray(image_SSC), np.random.default_rng(seed)), np.uint8)


def _of_values(values_SSC: np.ndarray) -> Image.Image:
    return Image.fromarray(values_SSC.clip(0, 255).astype(np.uint8))
