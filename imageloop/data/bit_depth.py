"""Bring samples of more than 8 bits to 8, by the range that the file declares, never by its single brightest pixel.

Integers: the range is what the file declares (TIFF's SMinSampleValue and SMaxSampleValue, MinSampleValue and MaxSampleValue,
BitsPerSample; PNG's sBIT; PGM's maxval; the precision of JPEG 2000). Cameras of 10, 12 and 14 bits often write 16-bit files
that declare nothing: there it is the fewest bits of 8, 10, 12, 14 and 16 that hold 999 of 1,000 samples.
Floating point: 0 to 1 where 998 of 1,000 samples lie in it; else what TIFF declares; else the file's own percentiles 0.1 and 99.9.
Samples beyond the range are clipped.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imageloop.errors import ImageRefusedError

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

Samples = NDArray[np.float64]
BAND_PIXELS = 1_000_000
LOOKED_AT = 1_000_000  # samples that a range is read off
OUTSIDE = 0.001  # share of samples that may lie beyond a range, on each side
USUAL_BITS = (8, 10, 12, 14, 16)
TIFF_BITS, TIFF_PHOTOMETRIC, TIFF_SAMPLE_FORMAT = 258, 262, 339
TIFF_RANGES = ((340, 341), (280, 281))  # SMinSampleValue and SMaxSampleValue; MinSampleValue and MaxSampleValue
MIN_IS_WHITE = 0
UNSIGNED = 1
DEEP_COLOURS = ("RGB;16", "RGBA;16", "RGBX;16", "RGBa;16", "LA;16", "CMYK;16")  # Pillow reads the high byte of these alone
PNM_MAXIMUM = "pnm_maximum"  # of a PGM or PPM, in Pillow's `info`
FEW_BITS_IN_HIGH_BYTE = 63  # 14 bits and fewer


class SampleRange(NamedTuple):
    """The values that become 0 and 255."""

    dark: float
    bright: float


def is_deep(image: Image.Image) -> bool:
    """Whether a decoded image has samples of more than 8 bits."""
    return image.mode in ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")


def to_eight_bits(image: Image.Image, header: "Header") -> Image.Image:
    """Bring one channel of integers or floating point to grey values from 0 to 255.

    Raises: ImageRefusedError with the reason `damaged` for NaN and infinity.
    """
    dark, bright = _range_of(image, header)
    if header.min_is_white:
        dark, bright = bright, dark
    grey = Image.new("L", image.size)
    for top, band in bands(image):
        samples = _samples_of(band, header)
        values = (samples - dark) / ((bright - dark) or 1.0) * 255
        grey.paste(Image.fromarray((values + 1e-6).clip(0, 255).astype(np.uint8)), (0, top))
    return grey


class Header(NamedTuple):
    """What a file declares of its samples; read before its pixels are. `bits`: those in use, where it says so."""

    declared: SampleRange | None
    bits: int | None
    min_is_white: bool
    is_unsigned: bool
    deep_colours: bool


def read_header(image: "ImageFile", content: bytes) -> Header:
    """Read the declared range of an image that is opened and not decoded yet."""
    tags = getattr(image, "tag_v2", None) or {}
    bits = None
    declared = None
    if image.format == "TIFF":
        declared = next(filter(None, (_tiff_range(tags, *pair) for pair in TIFF_RANGES)), None)
        depth = tags.get(TIFF_BITS, (8,))[0]
        bits = depth if depth not in (8, 16, 32) else None
    elif image.format == "PPM":
        maximum = image.info.get(PNM_MAXIMUM) or (65535 if image.mode == "I" else None)
        declared = SampleRange(0, maximum) if maximum else None
    elif image.format == "JPEG2000":
        declared = SampleRange(0, 65535)  # Pillow scales what has fewer bits
    elif image.format == "PNG":
        bits = _significant_bits(content)
    return Header(
        declared,
        bits,
        min_is_white=tags.get(TIFF_PHOTOMETRIC) == MIN_IS_WHITE,
        is_unsigned=tags.get(TIFF_SAMPLE_FORMAT, (UNSIGNED,))[0] == UNSIGNED,
        deep_colours=any(name in _raw_mode(image) for name in DEEP_COLOURS),
    )


def read_low_bytes(image: Image.Image, header: Header, reopen: Callable[[bytes], "ImageFile"], content: bytes) -> Image.Image:
    """Colours of 16 bits of which few are in use: their high bytes, which Pillow reads, are nearly black.

    Returns the image unchanged where the high bytes are in use, else the colours by the rule for integers.
    Raises: ImageRefusedError with the reason `unsupported_format` for colours with transparency.
    """
    high = np.asarray(image)[:: _step(image.height, image.width), :: _step(image.height, image.width)]
    fewer = header.declared is not None and header.declared.bright < 2**16 - 1
    if not fewer and _nearly_all(high.ravel()) > FEW_BITS_IN_HIGH_BYTE:
        return image
    if image.mode != "RGB":
        raise ImageRefusedError(
            "unsupported_format", f"16 bits a channel in the mode {image.mode}, of which few are in use; save it with 8 bits"
        )
    again = reopen(content)
    again.tile = [tile._replace(args=_other_byte(tile.args)) for tile in again.tile]
    again.load()
    if again.size != image.size:
        raise ImageRefusedError("damaged", "cannot be decoded twice alike")
    return _join_bytes(image, again, header)


def stretch(image: Image.Image, declared: SampleRange) -> Image.Image:
    """Scale samples of 8 bits whose file declares another maximum than 255."""
    if image.mode not in ("L", "RGB") or declared.bright >= 255:
        return image
    table = [min(255, round(value * 255 / declared.bright)) for value in range(256)]
    return image.point(table * len(image.getbands()))


def bands(image: Image.Image, multiple: int = 1) -> Iterator[tuple[int, Image.Image]]:
    """Some rows at a time, a multiple of `multiple`: all at once would take ten times the memory of the image."""
    rows = max(1, BAND_PIXELS // image.width // multiple) * multiple
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _range_of(image: Image.Image, header: Header) -> SampleRange:
    if header.declared and image.mode != "F":
        return header.declared
    samples = np.concatenate(
        [_samples_of(band, header)[:: _step(*image.size), :: _step(*image.size)].ravel() for _, band in bands(image)]
    )
    if image.mode == "F":
        return _float_range(samples, header)
    if not header.is_unsigned:
        return _percentiles(samples)
    return _integer_range(samples, header.bits)


def _integer_range(samples: Samples, declared_bits: int | None) -> SampleRange:
    """The range of unsigned integers: by the declared bits, or by the fewest usual bits that hold nearly all samples.

    PNG's rule is that fewer significant bits are scaled up to 16; files that hold them as they are, are common.
    """
    most = _nearly_all(samples)
    usual = (declared_bits, 16) if declared_bits else USUAL_BITS
    for bits in usual:
        if most <= 2**bits - 1:
            return SampleRange(0, 2**bits - 1)
    return SampleRange(0, 2**32 - 1) if most >= 2**30 else _percentiles(samples)


def _float_range(samples: Samples, header: Header) -> SampleRange:
    found = _percentiles(samples)
    if found.dark >= 0 and found.bright <= 1:
        return SampleRange(0, 1)
    return header.declared or found


def _percentiles(samples: Samples) -> SampleRange:
    dark, bright = np.quantile(samples, [OUTSIDE, 1 - OUTSIDE])
    return SampleRange(float(dark), float(bright))


def _nearly_all(samples: NDArray[np.generic]) -> float:
    """The value that all but 1 of 1,000 samples, at least 8, do not exceed."""
    share = max(0.0, 1 - max(OUTSIDE, 8 / samples.size))
    return float(np.quantile(samples.astype(np.float64), share, method="lower"))


def _samples_of(band: Image.Image, header: Header) -> Samples:
    """Shapes: one channel -> (H, W). Raises: ImageRefusedError with the reason `damaged` for NaN and infinity."""
    values = np.asarray(band)
    if values.dtype == np.int32 and header.is_unsigned:
        values = values.view(np.uint32)  # Pillow has no unsigned mode of 32 bits
    samples = values.astype(np.float64)
    if band.mode == "F" and not np.isfinite(samples).all():
        raise ImageRefusedError("damaged", "holds values that are no numbers (NaN or infinity); replace them")
    return samples


def _join_bytes(high: Image.Image, low: Image.Image, header: Header) -> Image.Image:
    """Shapes: two images (H, W, 3), the high and the low bytes -> one of 8 bits."""
    step = _step(*high.size)
    samples = np.asarray(high)[::step, ::step].astype(np.float64) * 256 + np.asarray(low)[::step, ::step]
    dark, bright = header.declared or _integer_range(samples, header.bits)
    joined = Image.new("RGB", high.size)
    for (top, upper), (_, lower) in zip(bands(high), bands(low), strict=True):
        values = (np.asarray(upper, np.float64) * 256 + np.asarray(lower) - dark) / (bright - dark) * 255
        joined.paste(Image.fromarray((values + 1e-6).clip(0, 255).astype(np.uint8)), (0, top))
    return joined


def _step(width: int, height: int) -> int:
    return max(1, int(np.ceil(np.sqrt(width * height / LOOKED_AT))))


def _tiff_range(tags: dict[int, tuple[float, ...]], low: int, high: int) -> SampleRange | None:
    try:
        dark, bright = (float(np.ravel(tags[tag])[0]) for tag in (low, high))
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    return SampleRange(dark, bright) if np.isfinite([dark, bright]).all() and bright > dark else None


def _significant_bits(content: bytes) -> int | None:
    """PNG's chunk sBIT, which stands before the first IDAT; the largest of its channels."""
    place = content.find(b"sBIT", 0, 4096)
    if place < 4:
        return None
    length = int.from_bytes(content[place - 4 : place], "big")
    return max(content[place + 4 : place + 4 + length], default=0) or None if length <= 4 else None


def _raw_mode(image: "ImageFile") -> str:
    args = image.tile[0].args if image.tile else ""
    return str(args[0] if isinstance(args, tuple) and args else args)


def _other_byte(args: object) -> object:
    """The arguments of Pillow's decoder, with the other byte of each sample."""
    if isinstance(args, tuple):
        return (_other_byte(args[0]), *args[1:])
    mode = str(args)
    return mode[:-1] + "L" if mode.endswith(";16B") else mode[:-1] + "B"
