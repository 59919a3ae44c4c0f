"""A 64-bit hash of what an image shows: scaled, recompressed and slightly changed copies differ in few bits.

Source: the DCT hash known as pHash (Zauner, 2010): signs of the lowest 8 x 8 frequencies against their median.
"""

import functools
import itertools

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 32
UInt64Array = NDArray[np.uint64]


@functools.cache
def _cosines() -> NDArray[np.float32]:
    k, n = np.mgrid[0:8, 0:SIDE]
    cosines: NDArray[np.float32] = np.cos(np.pi * k * (2 * n + 1) / (2 * SIDE)).astype(np.float32)
    return cosines


def perceptual_hash(image: Image.Image) -> int:
    """64 bits as a number in [0, 2**64)."""
    grey = image.resize((SIDE, SIDE), Image.Resampling.BOX, reducing_gap=2.0).convert("L")
    cosines = _cosines()
    frequencies = (cosines @ np.asarray(grey, dtype=np.float32) @ cosines.T).ravel()
    bits = frequencies > np.median(frequencies[1:])
    return int.from_bytes(np.packbits(bits).tobytes())


def near_pairs(hashes: UInt64Array, max_bits: int) -> NDArray[np.int64]:
    """All pairs of distinct hashes that differ in at most `max_bits` bits.

    Cut into `max_bits` + 1 bands, two such hashes agree in at least one band whole; so only images that share a band
    are compared, which is linear in their number as long as hashes are spread.

    Shapes: (N,) distinct values -> (M, 2) indices into `hashes`, smaller first.
    """
    num_bands = max_bits + 1
    edges = np.linspace(0, 64, num_bands + 1).astype(int)
    found = [np.empty((0, 2), np.int64)]
    for low, high in itertools.pairwise(edges):
        band = (hashes >> np.uint64(low)) & np.uint64(2 ** int(high - low) - 1)
        found.append(_close_within_band(hashes, band, max_bits))
    return np.unique(np.concatenate(found), axis=0)


def _close_within_band(hashes: UInt64Array, band: UInt64Array, max_bits: int) -> NDArray[np.int64]:
    """Compare each hash with the next ones of its band, one step further each round."""
    order = np.argsort(band, kind="stable")
    ordered = band[order]
    pairs = [np.empty((0, 2), np.int64)]
    for step in range(1, len(hashes)):
        same = np.flatnonzero(ordered[step:] == ordered[:-step])
        if not len(same):
            break
        left, right = order[same], order[same + step]
        close = np.bitwise_count(hashes[left] ^ hashes[right]) <= max_bits
        pairs.append(np.sort(np.column_stack([left, right])[close], axis=1))
    return np.concatenate(pairs)
