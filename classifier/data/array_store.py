"""Rows of numbers kept by content hash: decoded pictures, features. What is known is never computed again.

A shard is one .npy file with a .json beside it (keys, checksums, attributes); both are written aside and renamed, so a
process may be killed at any point and several may write at once. A shard that does not hold what its .json says is
ignored, and what it held is made again.
"""

import itertools
import json
import logging
import uuid
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from classifier.files import replacing

logger = logging.getLogger(__name__)
Array = NDArray[Any]


@dataclass(frozen=True)
class _Place:
    shard: Path
    row: int
    crc32: int
    attributes: dict[str, Any]


class ArrayStore:
    """Rows of one shape and type below `folder`, found by key, read through a memory map."""

    def __init__(self, folder: Path, row_shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self.folder = folder
        self.row_shape = row_shape
        self.dtype = np.dtype(dtype)
        self._places: dict[str, _Place] = {}
        self._read: set[Path] = set()
        self.refresh()

    def refresh(self) -> None:
        """See what other processes have added."""
        for index in sorted(self.folder.glob("*.json")):
            if index not in self._read:
                self._read.add(index)
                self._read_index(index)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def missing(self, keys: Iterable[str]) -> list[str]:
        """The keys that are not here, each once, in their order."""
        return [key for key in dict.fromkeys(keys) if key not in self._places]

    def attributes(self, key: str) -> dict[str, Any]:
        return self._places[key].attributes

    def append(self, keys: Sequence[str], rows: Array, attributes: Sequence[dict[str, Any]] | None = None) -> None:
        """Keep `rows` (N, *row_shape) under `keys`; whole or not at all."""
        rows = np.ascontiguousarray(rows, dtype=self.dtype)
        if rows.shape != (len(keys), *self.row_shape):
            raise ValueError(f"wanted rows of shape {(len(keys), *self.row_shape)}, found {rows.shape}")
        index = self.folder / f"{uuid.uuid4().hex}.json"
        with replacing(index.with_suffix(".npy")) as aside, aside.open("wb") as file:
            np.save(file, rows)
        content = {
            "keys": list(keys),
            "crc32": [zlib.crc32(row) for row in rows],
            "attributes": list(attributes or [{}] * len(keys)),
        }
        with replacing(index) as aside:
            aside.write_text(json.dumps(content))
        self._read.add(index)
        self._read_index(index)

    def read(self, keys: Sequence[str]) -> Array:
        """The rows of `keys`, (N, *row_shape).

        Raises: CorruptRowError for a row whose checksum is wrong, KeyError for one that was never here.
        """
        rows = np.empty((len(keys), *self.row_shape), self.dtype)
        by_shard: dict[Path, list[tuple[int, _Place]]] = {}
        for target, key in enumerate(keys):
            by_shard.setdefault(self._places[key].shard, []).append((target, self._places[key]))
        for shard, wanted in by_shard.items():
            shard_rows = np.load(shard, mmap_mode="r")  # mapped no longer than this: a map's pages count as our memory
            for target, place in wanted:
                rows[target] = shard_rows[place.row]
                if zlib.crc32(rows[target]) != place.crc32:
                    raise CorruptRowError(shard)
        return rows

    def discard_corrupt(self, keys: Iterable[str]) -> None:
        """Forget, and delete, each shard that holds a row of `keys` with a wrong checksum."""
        known = [key for key in keys if key in self._places]
        for batch in itertools.batched(known, 64):
            try:
                self.read([key for key in batch if key in self._places])
            except CorruptRowError as error:
                self._discard(error.shard)

    def _discard(self, shard: Path) -> None:
        logger.warning("a shard was damaged and is made again: %s", shard)
        shard.with_suffix(".json").unlink(missing_ok=True)
        shard.unlink(missing_ok=True)
        self._places = {key: place for key, place in self._places.items() if place.shard != shard}

    def _read_index(self, index: Path) -> None:
        shard = index.with_suffix(".npy")
        try:
            content = json.loads(index.read_text())
            expected = (len(content["keys"]), *self.row_shape)
            rows = np.load(shard, mmap_mode="r")
            if rows.shape != expected or rows.dtype != self.dtype:
                raise ValueError(f"wanted {expected} {self.dtype}, found {rows.shape} {rows.dtype}")
            entries = zip(content["keys"], content["crc32"], content["attributes"], strict=True)
            places = {key: _Place(shard, row, crc, extra) for row, (key, crc, extra) in enumerate(entries)}
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            logger.warning("a shard cannot be read and is made again: %s (%s)", shard, error)
            return
        self._places.update(places)


class CorruptRowError(Exception):
    """A row whose bytes are not those that were written."""

    def __init__(self, shard: Path) -> None:
        super().__init__(f"{shard} was changed after it was written")
        self.shard = shard
