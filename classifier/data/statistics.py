"""What can be measured of a picture without knowing what it shows: for slices in evaluation, and for drift."""

import numpy as np
from numpy.typing import NDArray

from classifier.model.preprocessing import UInt8Array

NAMES = ("brightness", "contrast", "sharpness", "saturation")
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def image_statistics(images_BHWC: UInt8Array) -> NDArray[np.float32]:
    """Brightness and contrast of the luma in [0, 255], sharpness as the deviation of its Laplacian, saturation in [0, 1].

    Shapes: (B, H, W, 3) uint8 -> (B, 4) float32, in the order of `NAMES`.
    """
    return (
        np.stack([_statistics_of(image_HWC) for image_HWC in images_BHWC]) if len(images_BHWC) else np.empty((0, 4), np.float32)
    )


def _statistics_of(image_HWC: UInt8Array) -> NDArray[np.float32]:
    luma = image_HWC.astype(np.float32) @ LUMA
    laplacian = 4 * luma[1:-1, 1:-1] - luma[:-2, 1:-1] - luma[2:, 1:-1] - luma[1:-1, :-2] - luma[1:-1, 2:]
    small = image_HWC[::4, ::4].astype(np.float32)
    strongest, weakest = small.max(2), small.min(2)
    saturation = ((strongest - weakest) / np.maximum(strongest, 1)).mean()
    return np.array([luma.mean(), luma.std(), laplacian.std(), saturation], np.float32)
