"""Decode one image: read its header, refuse what cannot be used, and give upright RGB pixels.

Memory: a file is decoded whole, but for baseline JPEG and JPEG 2000, which are read at a reduced scale. What that takes is
limited (`Limits.max_decoding_bytes`, from the measured bytes of a pixel of each format), and large images are decoded one at
a time: so a process needs at most that much, besides the files themselves.
"""

import threading
from collections.abc import Callable

from PIL import Image, ImageFile

from imageloop.data.bit_depth import Header, bands, is_deep, read_low_bytes, stretch, to_eight_bits
from imageloop.data.file_repairs import is_nearly_whole, with_end, without_side_chunks
from imageloop.data.image_checks import (
    DAMAGE,
    Container,
    OpenedImage,
    open_image,
    open_reduced,
    open_with_pillow,
    refuse_by_kind,
)
from imageloop.data.settings import Limits
from imageloop.errors import ImageRefusedError

MANY_PIXELS = 16_000_000  # more are reduced before anything else is done with them
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
_large_images = threading.Lock()


def decode_one(content: bytes, side: int, limits: Limits) -> tuple[Image.Image, Container]:
    """Decode an image to upright RGB, at least twice `side` where the file has that, and read its header.

    Raises: ImageRefusedError.
    """
    return decode(open_image(content, side, limits), side)


def decode(opened: OpenedImage, side: int) -> tuple[Image.Image, Container]:
    """Decode to upright RGB, at a reduced scale where the format can; at least twice `side` where the file has that.

    Raises: ImageRefusedError with the reason `damaged`.
    """
    scaled_side = max(512, 2 * side)
    if opened.image is not None:
        return _decode_or_repair(opened, opened.image, scaled_side)
    with _large_images:
        return _decode_or_repair(opened, open_reduced(opened.content, scaled_side), scaled_side)


def _decode_or_repair(opened: OpenedImage, image: ImageFile.ImageFile, scaled_side: int) -> tuple[Image.Image, Container]:
    try:
        return _decode(opened.content, image, opened.header, scaled_side), opened.container
    except DAMAGE as error:
        repaired = _decode_repaired(opened, scaled_side)
        if repaired is not None:
            return repaired
        error = error.with_traceback(None)  # which holds the pixels
        if opened.container.format == "JPEG":
            refuse_by_kind(opened.content, error, only_images=True)
        raise ImageRefusedError("damaged", f"cannot be decoded ({error})") from error


def _decode(content: bytes, image: ImageFile.ImageFile, header: Header, scaled_side: int) -> Image.Image:
    image.load()
    pixels: Image.Image = image
    if header.deep_colours:
        pixels = read_low_bytes(image, header, open_with_pillow, content)
    elif is_deep(image):
        pixels = to_eight_bits(image, header)
    elif header.declared:
        pixels = stretch(image, header.declared)
    return _upright(pixels, image, scaled_side)


def _decode_repaired(opened: OpenedImage, scaled_side: int) -> tuple[Image.Image, Container] | None:
    """Decode what a repair makes readable; None where nothing does."""
    try:
        if kept := without_side_chunks(opened.content):
            return _decode(kept, open_with_pillow(kept), opened.header, scaled_side), opened.container
        if ended := with_end(opened.content):
            image = open_reduced(ended, scaled_side)
            rgb = _decode(ended, image, opened.header, scaled_side)
            if is_nearly_whole(image):
                return rgb, opened.container._replace(format=f"{opened.container.format} (incomplete)")
    except DAMAGE:
        return None
    return None


def _upright(pixels: Image.Image, image: ImageFile.ImageFile, scaled_side: int) -> Image.Image:
    """Convert to RGB, turned by the EXIF orientation. The rest of the EXIF is ignored: cameras write wrong types, which Pillow refuses to write."""
    try:
        turn = TURNS.get(image.getexif().get(ORIENTATION))
    except Exception:  # whatever a parser of foreign bytes raises: then the image counts as upright
        turn = None
    rgb = _to_rgb(pixels, scaled_side)
    return rgb if turn is None else rgb.transpose(turn)


def _to_rgb(image: Image.Image, scaled_side: int) -> Image.Image:
    scale = min(image.size) // scaled_side if image.width * image.height > MANY_PIXELS else 1
    if _is_transparent(image):
        return _in_bands(image, _on_white, max(1, scale))
    if scale > 1:
        return _in_bands(image, lambda band: band.convert("RGB"), scale)
    return image if image.mode == "RGB" else image.convert("RGB")


def _is_transparent(image: Image.Image) -> bool:
    """Whether some place is opaque and others may not be; where alpha is 0 everywhere it has no meaning, as Windows writes it."""
    if image.mode not in ("RGBA", "LA", "PA") and "transparency" not in image.info:
        return False
    return any(_alpha_of(band).getextrema()[1] for _, band in bands(image))


def _alpha_of(band: Image.Image) -> Image.Image:
    return (band if band.mode in ("RGBA", "LA") else band.convert("RGBA")).getchannel("A")


def _on_white(band: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", band.size, "white"), band.convert("RGBA")).convert("RGB")


def _in_bands(image: Image.Image, convert: Callable[[Image.Image], Image.Image], scale: int) -> Image.Image:
    """Convert some rows at a time, reduced by `scale`: all at once would take several times the memory of the image."""
    rgb = Image.new("RGB", (-(-image.width // scale), -(-image.height // scale)))
    for top, band in bands(image, scale):
        converted = convert(band)
        rgb.paste(converted.reduce(scale) if scale > 1 else converted, (0, top // scale))
    return rgb
