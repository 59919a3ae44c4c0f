"""Rows of numbers kept by content hash: decoded images, features. No row is computed twice.

A shard is one .npy file with a .json beside it (keys, checksums, attributes); both are written aside and renamed, so a
process may be killed at any point and several may write at once. A shard that does not hold what its .json says is
ignored, and its rows are computed again. Where machines share files (imageloop/shared_folder.py), a shard that another one wrote is
read from there: whole where most of its rows are needed, else row by row.
"""

import io
import itertools
import json
import logging
import uuid
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from imageloop.atomic_files import replacing
from imageloop.progress import track
from imageloop.shared_folder import SharedFolder, shared

logger = logging.getLogger(__name__)
Array = NDArray[Any]
# From this share of a shard's rows on, one request for the whole shard is faster than one for each row.
WHOLE_ABOVE = 0.25
CHECKED_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
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
        self._lengths: dict[Path, int] = {}  # of shards elsewhere
        self._asked: Counter[Path] = Counter()  # rows of them, by now
        self._read: set[Path] = set()
        self._shared = shared(folder)
        self.refresh()

    def refresh(self) -> None:
        """See what other processes have added, on other machines too."""
        for index in sorted(self.folder.glob("*.json")):
            if index not in self._read:
                self._read.add(index)
                self._read_index(index)
        if self._shared is not None:
            new = [name for name in self._shared.names(".json") if self.folder / name not in self._read]
            for name, content in self._shared.read(new).items():
                self._read.add(self.folder / name)
                self._read_shared_index(self.folder / name, content)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def missing(self, keys: Iterable[str]) -> list[str]:
        """The keys that are not here, each once, in their order."""
        return [key for key in dict.fromkeys(keys) if key not in self._places]

    def attributes(self, key: str) -> dict[str, Any]:
        return self._places[key].attributes

    def checksum(self, key: str) -> int:
        """The CRC-32 of a row: equal rows have equal ones."""
        return self._places[key].crc32

    def append(self, keys: Sequence[str], rows: Array, attributes: Sequence[dict[str, Any]] | None = None) -> None:
        """Keep `rows` (N, *row_shape) under `keys`; whole or not at all."""
        rows = np.ascontiguousarray(rows, dtype=self.dtype)
        if rows.shape != (len(keys), *self.row_shape):
            raise ValueError(f"expected rows of shape {(len(keys), *self.row_shape)}, got {rows.shape}")
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
        if self._shared is not None:
            self._shared.publish(index.with_suffix(".npy"))
            self._shared.publish(index)

    def read(self, keys: Sequence[str]) -> Array:
        """The rows of `keys`, (N, *row_shape).

        Raises: CorruptRowError for a row whose checksum is wrong, KeyError for one that was never here.
        """
        rows = np.empty((len(keys), *self.row_shape), self.dtype)
        by_shard: dict[Path, list[tuple[int, _Place]]] = {}
        for target, key in enumerate(keys):
            by_shard.setdefault(self._places[key].shard, []).append((target, self._places[key]))
        for shard, targets in by_shard.items():
            for (target, place), row in zip(targets, self._rows(shard, [place.row for _, place in targets]), strict=True):
                rows[target] = row
                if zlib.crc32(rows[target]) != place.crc32:
                    raise CorruptRowError(shard)
        return rows

    def _rows(self, shard: Path, numbers: list[int]) -> Iterable[Array]:
        if self._shared is not None and not shard.exists():
            self._asked[shard] += len(numbers)
            if self._asked[shard] < WHOLE_ABOVE * self._lengths[shard]:
                return self._rows_from_afar(self._shared, shard, numbers)
            self.folder.mkdir(parents=True, exist_ok=True)
            for file in (shard, shard.with_suffix(".json")):
                self._shared.fetch(file.name, file)
        mapped = np.load(shard, mmap_mode="r")  # no longer than this: a map's pages count as our memory
        return (mapped[number] for number in numbers)

    def _rows_from_afar(self, place: SharedFolder, shard: Path, numbers: list[int]) -> Iterable[Array]:
        header = io.BytesIO()
        shape = (self._lengths[shard], *self.row_shape)
        np.lib.format.write_array_header_1_0(
            header, {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": shape}
        )
        size = int(np.prod(self.row_shape)) * self.dtype.itemsize
        starts = [header.tell() + number * size for number in numbers]
        parts = place.read_ranges(shard.name, [(start, start + size) for start in starts])
        return (np.frombuffer(part, self.dtype).reshape(self.row_shape) for part in parts)

    def discard_corrupt(self, keys: Iterable[str]) -> None:
        """Forget, and delete, each shard that holds a row of `keys` with a wrong checksum."""
        known = [key for key in keys if key in self._places and self._places[key].shard.exists()]
        for batch in track(itertools.batched(known, CHECKED_AT_ONCE), "check what is kept", len(known), CHECKED_AT_ONCE):
            try:
                self.read([key for key in batch if key in self._places])
            except CorruptRowError as error:
                self._discard(error.shard)

    def _discard(self, shard: Path) -> None:
        logger.warning("a shard was damaged and is made again: %s", shard)
        shard.with_suffix(".json").unlink(missing_ok=True)
        if self._shared is not None and self._shared.names(f"{shard.stem}.json"):
            self._shared.delete(f"{shard.stem}.json")
        shard.unlink(missing_ok=True)
        self._places = {key: place for key, place in self._places.items() if place.shard != shard}

    def _read_index(self, index: Path) -> None:
        shard = index.with_suffix(".npy")
        try:
            places = _places_in(index.read_bytes(), shard)
            rows = np.load(shard, mmap_mode="r")
            expected = (len(places), *self.row_shape)
            if rows.shape != expected or rows.dtype != self.dtype:
                raise ValueError(f"expected {expected} {self.dtype}, got {rows.shape} {rows.dtype}")
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            logger.warning("a shard cannot be read and is made again: %s (%s)", shard, error)
            return
        self._places.update(places)

    def _read_shared_index(self, index: Path, content: bytes) -> None:
        shard = index.with_suffix(".npy")
        try:
            places = _places_in(content, shard)
        except (ValueError, KeyError, TypeError) as error:
            logger.warning("a shared shard cannot be read and is made again: %s (%s)", shard, error)
            return
        self._lengths[shard] = len(places)
        for key, place in places:
            self._places.setdefault(key, place)


def _places_in(index: bytes, shard: Path) -> list[tuple[str, _Place]]:
    content = json.loads(index)
    entries = zip(content["keys"], content["crc32"], content["attributes"], strict=True)
    return [(key, _Place(shard, row, crc, extra)) for row, (key, crc, extra) in enumerate(entries)]


class CorruptRowError(Exception):
    """A row whose bytes are not those that were written."""

    def __init__(self, shard: Path) -> None:
        super().__init__(f"{shard} was changed after it was written")
        self.shard = shard
