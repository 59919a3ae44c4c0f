"""The labelled test images of a package are predicted as they were evaluated: the same pixels reach the model."""

import numpy as np
import pytest
from PIL import Image

from imageloop.data.preprocessing import preprocess, resize_and_crop
from imageloop.data.settings import Drift, Limits
from imageloop.data.sources.draw_animals import draw_image
from imageloop.model.test_images import encode


@pytest.mark.parametrize("side", [64, 112, 224, 240, 260])
def test_preprocessing_gives_back_the_pixels_that_were_evaluated(side):
    prepared_SSC = resize_and_crop(draw_image("cat", (9, 3), Drift()).convert("RGB"), side)

    served_SSC = preprocess(encode(prepared_SSC), side, Limits())

    difference = np.abs(served_SSC.astype(int) - prepared_SSC.astype(int))
    assert served_SSC.shape == prepared_SSC.shape
    assert difference.mean() < 4  # what JPEG costs
    zoomed_SSC = resize_and_crop(Image.fromarray(prepared_SSC), side)  # what a second crop would give
    assert difference.mean() < np.abs(zoomed_SSC.astype(int) - prepared_SSC.astype(int)).mean() / 2
