"""Embeddings of rehearsed copies of a data set's images: computed once, for the accuracy estimator and for retrainings.

Shapes: N images, C copies of some of them, D features.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from imageloop.data.array_store import ArrayStore
from imageloop.data.prepared_images import PreparedImages, spread
from imageloop.evenly_spaced import evenly_spaced
from imageloop.training.features import BatchChange, FeatureExtractor
from imageloop.training.rehearsal import NUM_COPIES, REHEARSAL_VERSION, SHUFFLED, Cell, cells_of, changes, rehearse, shuffle

MAX_REHEARSED, MAX_JUDGED = 150, 4000  # images with copies, and images as they are


@dataclass(frozen=True)
class Copies:
    """Embeddings of changed copies; `of_C`: the number of the image, `cells_C`: what was changed."""

    embeddings_CD: NDArray[np.float32]
    of_C: NDArray[np.intp]
    cells_C: list[Cell]


def judged_images(images: PreparedImages) -> pd.DataFrame:
    """The images whose predictions fit the estimator, evenly spaced; some of them have copies."""
    return spread(images.table, MAX_JUDGED)


def rehearsed_copies(table: pd.DataFrame, extractor: FeatureExtractor, store: ArrayStore) -> Copies:
    """The copies of some of the images of `table`; those that were computed before are read."""
    rows = evenly_spaced(len(table), MAX_REHEARSED)
    keys = table["sha256"].iloc[rows].tolist()
    embeddings, cells = [], []
    for name, change, changed in views(keys):
        embeddings.append(extractor.extract(keys, f"{name}-{REHEARSAL_VERSION}", store, change))
        cells += changed
    return Copies(np.concatenate(embeddings), np.tile(rows, len(embeddings)), cells)


def copies_of_training_images(
    images: PreparedImages, extractor: FeatureExtractor, store: ArrayStore
) -> tuple[NDArray[np.float32], pd.DataFrame]:
    """The embeddings of rehearsed copies that show an object and may train, (C, D), and the row of each one's image."""
    table = judged_images(images)
    copies = rehearsed_copies(table, extractor, store)
    of_C = table.iloc[copies.of_C].reset_index(drop=True)
    trains_C = (of_C["split"] == "train").to_numpy() & [cell.kind != SHUFFLED for cell in copies.cells_C]
    return copies.embeddings_CD[trains_C], of_C[trains_C].reset_index(drop=True)


def views(keys: list[str]) -> list[tuple[str, BatchChange, list[Cell]]]:
    """The copies of every image: the name, how a batch becomes them, and what was changed in each."""
    cells = list(changes())
    rehearsed = [
        (f"rehearsed-{copy}", partial(rehearse, copy=copy), [cells[cells_of(key, len(cells))[copy]] for key in keys])
        for copy in range(NUM_COPIES)
    ]
    return [*rehearsed, (SHUFFLED, shuffle, [Cell(SHUFFLED, 1)] * len(keys))]
