"""How many images of several callers go through the model in one run: measured when the model is opened."""

import os
import time

import numpy as np

from imageloop.model.predictor import Predictor

MAX_BATCH_VARIABLE, MAX_WAIT_VARIABLE = "IMAGELOOP_MAX_BATCH", "IMAGELOOP_MAX_WAIT_MS"
MAX_BATCH, MAX_BATCH_ON_GPU = 4, 16
RUNS = 3
MAX_LOSS = 1.05  # times as long for each image together as alone; handing over less often makes up for that


def max_batch(predictor: Predictor) -> int:
    """The configured limit, or 1 where this machine needs longer for images that are computed together."""
    limit = max(1, int(os.environ.get(MAX_BATCH_VARIABLE) or (MAX_BATCH_ON_GPU if predictor.on_gpu else MAX_BATCH)))
    if limit == 1:
        return 1
    try:
        return limit if _seconds_each(predictor, limit) <= MAX_LOSS * _seconds_each(predictor, 1) else 1
    except Exception:  # a model that cannot predict is served all the same: its errors are its version's, and roll it back
        return 1


def max_wait_seconds() -> float:
    """For how long a thread waits for more images to compute together; by default not at all."""
    return float(os.environ.get(MAX_WAIT_VARIABLE) or 0) / 1000


def _seconds_each(predictor: Predictor, num_images: int) -> float:
    side = predictor.info.side_pixels
    images_BSSC = np.zeros((num_images, side, side, 3), np.uint8)
    predictor.predict(images_BSSC)  # the first run allocates
    seconds = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        predictor.predict(images_BSSC)
        seconds.append(time.perf_counter() - begun)
    return min(seconds) / num_images
