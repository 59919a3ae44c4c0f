"""Images of labelled predictions, which train the last blocks of a backbone beside the images of the data set."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from imageloop.data.array_store import ArrayStore
from imageloop.data.preprocessing import UInt8Array
from imageloop.evenly_spaced import evenly_spaced

MAX_REPEATED = 4000  # images of the data set beside them: as many keep what the blocks know
ReadImages = Callable[[list[int]], UInt8Array]


@dataclass(frozen=True)
class SeenImages:
    """Records of predictions with their images as the model sees them, (N, S, S, 3) uint8."""

    rows: pd.DataFrame
    images_NSSC: UInt8Array


@dataclass(frozen=True)
class FeedbackImages:
    """Images as the model sees them; those of validation are in the order of the labelled predictions of that role.

    Shapes: T images that train and V that validate, of S x S pixels.
    """

    train_TSSC: UInt8Array
    train_T: NDArray[np.int64]
    validation_VSSC: UInt8Array

    def validation_batches(self, size: int) -> Iterator[UInt8Array]:
        """The images that validate, `size` at a time."""
        return (self.validation_VSSC[start : start + size] for start in range(0, len(self.validation_VSSC), size))


def training_images(
    store: ArrayStore, keys: list[str], targets_N: NDArray[np.int64], extra: FeedbackImages | None, times: int
) -> tuple[NDArray[np.int64], ReadImages]:
    """The classes of the images that train, and how those of some numbers are read: the data set's, then `extra` ones.

    These come `times` times, or as often as makes them as many as the others.
    """
    if extra is None:
        return targets_N, lambda numbers: store.read([keys[number] for number in numbers])
    known = len(keys)
    chosen, added = evenly_spaced(known, MAX_REPEATED), known + np.arange(len(extra.train_T))
    times = max(1, min(times, round(len(chosen) / max(1, len(added)))))
    places_N = np.concatenate([chosen, np.tile(added, times)])

    def read(numbers: list[int]) -> UInt8Array:
        places_B = places_N[numbers]
        is_extra_B = places_B >= known
        images_BSSC = np.empty((len(places_B), *extra.train_TSSC.shape[1:]), np.uint8)
        images_BSSC[~is_extra_B] = store.read([keys[place] for place in places_B[~is_extra_B]])
        images_BSSC[is_extra_B] = extra.train_TSSC[places_B[is_extra_B] - known]
        return images_BSSC

    return np.concatenate([targets_N, extra.train_T])[places_N], read
