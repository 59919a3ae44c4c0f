"""The data set as training sees it: which prepared images, with which label, in which split."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from imageloop.data.array_store import ArrayStore
from imageloop.data.catalog_schema import accepted, classes_of
from imageloop.data.ingestion import decode_new, prepared_store
from imageloop.data.preprocessing import UInt8Array
from imageloop.data.settings import Limits
from imageloop.data.sources.folder import unwrap
from imageloop.errors import ImageLoopError
from imageloop.evenly_spaced import evenly_spaced

ANY = Limits(
    min_side_pixels=1, max_pixels=2**31, max_decoding_bytes=2**40, max_bytes=2**40
)  # they were accepted by the settings of their own


class ImagesGoneError(ImageLoopError):
    """Images that are neither prepared nor where they were when they were catalogued."""


@dataclass(frozen=True)
class PreparedImages:
    """`table`: one row an image (sha256, path, label, split, width, height, format); the pixels lie in the store, by sha256."""

    table: pd.DataFrame
    class_names: list[str]
    side_pixels: int
    data_version: str
    raw_folder: str

    def of_split(self, split: str) -> pd.DataFrame:
        return self.table[self.table["split"] == split]

    def targets(self, table: pd.DataFrame) -> NDArray[np.int64]:
        """The classes of `table`'s rows as indices into `class_names`, (N,)."""
        places = {name: place for place, name in enumerate(self.class_names)}
        targets: NDArray[np.int64] = table["label"].map(places).to_numpy(np.int64)
        return targets

    def at_side(self, side: int, store_folder: Path) -> "PreparedImages":
        """The same images for a model that sees another size; its store is filled with the test images.

        Raises: ImagesGoneError if an image is gone or no longer readable since it was catalogued.
        """
        if side == self.side_pixels:
            return self
        _fill(self.of_split("test"), Path(self.raw_folder), store_folder, side)
        return replace(self, side_pixels=side)

    def open_store(self, folder: Path) -> ArrayStore:
        return prepared_store(folder, self.side_pixels)


def prepare(catalog: pd.DataFrame, store_folder: Path, side: int, data_version: str, raw: Path) -> PreparedImages:
    """Make sure that the store holds every accepted image at `side`; decode those that it lacks.

    Raises: ImagesGoneError if an image is gone or no longer readable since it was catalogued.
    """
    images = accepted(catalog).drop_duplicates("sha256")
    _fill(images, raw, store_folder, side)
    columns = ["sha256", "path", "label", "split", "width", "height", "format"]
    return PreparedImages(images[columns].reset_index(drop=True), classes_of(catalog), side, data_version, str(raw))


def _fill(images: pd.DataFrame, raw: Path, store_folder: Path, side: int) -> None:
    root = unwrap(raw)  # where the names of the catalog begin
    paths = {row.sha256: root / row.path for row in images.itertuples()}
    refused = decode_new(paths, prepared_store(store_folder, side), side, ANY)
    if refused:
        key, error = next(iter(refused.items()))
        raise ImagesGoneError(
            f"expected {len(paths)} images, got {len(refused)} gone since they were read, such as '{paths[key]}' ({error}); "
            "run again with --no-cache to read the source again"
        )


def in_batches(store: ArrayStore, keys: list[str], size: int) -> Iterator[UInt8Array]:
    """Images in the order of `keys`, `size` at a time: (B, S, S, 3) uint8."""
    return (images_BSSC for _, images_BSSC in in_keyed_batches(store, keys, size))


def in_keyed_batches(store: ArrayStore, keys: list[str], size: int) -> Iterator[tuple[list[str], UInt8Array]]:
    """Keys and their images, `size` at a time: (B, S, S, 3) uint8."""
    for start in range(0, len(keys), size):
        some = keys[start : start + size]
        yield some, store.read(some)


def spread(table: pd.DataFrame, count: int) -> pd.DataFrame:
    """Select at most `count` rows, evenly spaced over `table`."""
    return table.iloc[evenly_spaced(len(table), count)]
