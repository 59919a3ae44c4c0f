"""What can be measured of an image without knowing what it shows: for slices in evaluation, and for drift."""

import numpy as np
from numpy.typing import NDArray

from imageloop.data.preprocessing import UInt8Array

NAMES = ("brightness", "contrast", "sharpness", "saturation")
EVERY = 8  # rows: the prediction is the same to a few percent, and a service pays for it with each image
LUMA = np.array([77, 150, 29], np.float32)  # of 256


def image_statistics(images_BHWC: UInt8Array) -> NDArray[np.float32]:
    """Brightness and contrast of the luma in [0, 255], sharpness as the deviation of its second difference along rows, saturation in [0, 1].

    Shapes: (B, H, W, 3) uint8 -> (B, 4) float32, in the order of `NAMES`.
    """
    if not len(images_BHWC):
        return np.empty((0, 4), np.float32)
    return np.stack([statistics_of_rows(image_HWC[::EVERY]) for image_HWC in images_BHWC])


def rows_for_statistics(image_HWC: UInt8Array) -> UInt8Array:
    """Copy the rows that `statistics_of_rows` needs, so that it can run after the image is freed: (H, W, 3) -> (H / EVERY, W, 3)."""
    return image_HWC[::EVERY].copy()


def statistics_of_rows(few_rows_HWC: UInt8Array) -> NDArray[np.float32]:
    """Compute the statistics of one image from every eighth of its rows: (H / EVERY, W, 3) uint8 -> (4,) float32.

    In float32, where a matrix product is many times faster than with integers; each product is a whole number all the same.
    """
    rows_HWC = few_rows_HWC.astype(np.float32)
    luma = np.floor(rows_HWC.reshape(-1, 3) @ LUMA / 256).reshape(rows_HWC.shape[:2])
    first_difference = luma[:, 1:] - luma[:, :-1]
    second_difference = first_difference[:, 1:] - first_difference[:, :-1]
    few_HWC = rows_HWC[:, ::EVERY]
    red, green, blue = few_HWC[..., 0], few_HWC[..., 1], few_HWC[..., 2]
    strongest = np.maximum(np.maximum(red, green), blue)
    weakest = np.minimum(np.minimum(red, green), blue)
    saturation = ((strongest - weakest) / np.maximum(strongest, 1)).mean()
    return np.array([*_mean_and_deviation(luma), _mean_and_deviation(second_difference)[1], saturation], np.float32)


def _mean_and_deviation(values: NDArray[np.float32]) -> tuple[float, float]:
    flat = values.reshape(-1)
    mean = flat.sum() / flat.size
    apart = flat - mean
    return float(mean), float(np.sqrt(apart @ apart / apart.size))
