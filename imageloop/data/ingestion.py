"""Read, check and decode images, each content once: facts for the catalog, pixels for the store."""

import hashlib
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imageloop.atomic_files import hash_of
from imageloop.data.array_store import ArrayStore
from imageloop.data.decoding import decode_one
from imageloop.data.image_checks import check_size
from imageloop.data.perceptual_hash import perceptual_hash
from imageloop.data.preprocessing import CACHE_VERSION, UInt8Array, resize_and_crop
from imageloop.data.settings import Limits
from imageloop.errors import ImageRefusedError
from imageloop.execution_engine import ThisProcess, current_engine
from imageloop.progress import counted
from imageloop.usable_cores import usable_cores

logger = logging.getLogger(__name__)
SHARD_SIZE = 256  # 38 MB of pixels at 224: the maximum that a kill loses, and that is held in memory
NUM_NAMED = 5  # refused files


def prepared_store(folder: Path, side: int) -> ArrayStore:
    """Images as the model sees them, (side, side, 3) uint8, by the SHA-256 of their file."""
    return ArrayStore(folder / f"v{CACHE_VERSION}-{side}", (side, side, 3), np.uint8)


def prepared_stores(folder: Path, side: int) -> list[ArrayStore]:
    """Open the store of `side`, which may be shared, and the local stores of other sides, the largest first."""
    names = [path.name.removeprefix(f"v{CACHE_VERSION}-") for path in folder.glob(f"v{CACHE_VERSION}-*")]
    others = sorted({int(name) for name in names if name.isdigit()} - {side}, reverse=True)
    return [prepared_store(folder, one) for one in (side, *others)]


def in_threads[T, R](function: Callable[[T], R], items: Sequence[T], cores: int | None = None) -> Iterator[R]:
    """Map in order with a thread a core, holding no more than a few results at a time. `cores`: by default all of this process."""
    num_threads = cores or usable_cores()
    with ThreadPoolExecutor(num_threads) as pool:
        for batch in itertools.batched(items, 32 * num_threads):
            yield from pool.map(function, batch)


def sha256_of(path: Path) -> str | None:
    """The hash of a file, None where it cannot be read."""
    try:
        return hash_of(path)
    except OSError:
        return None


def decode_new(paths: dict[str, Path], store: ArrayStore, side: int, limits: Limits) -> dict[str, ImageRefusedError]:
    """Decode what `store` does not hold; return what was refused.

    `paths` maps the SHA-256 of each content to a file that holds it.
    """
    store.discard_corrupt(paths)
    new = store.missing(paths)
    refused: dict[str, ImageRefusedError] = {}
    shards = [new[start : start + SHARD_SIZE] for start in range(0, len(new), SHARD_SIZE)]
    engine = current_engine() if len(shards) > 1 else ThisProcess()
    read: Callable[[Path, Limits], Source] = _as_path if engine.is_this_process else _read
    items = ([(key, read(paths[key], limits)) for key in shard] for shard in shards)
    with counted("decode", len(new)) as advance:
        task = DecodeImages(side, limits, advance if engine.is_this_process else None)
        for number, decoded in engine.map(task, items):
            _keep(zip(shards[number], decoded, strict=True), store, refused)
            if not engine.is_this_process:
                advance(len(decoded))
    level = logging.INFO if new else logging.DEBUG
    logger.log(level, "decoded %d images, %d were known, %d refused", len(new), len(paths) - len(new), len(refused))
    for key in list(refused)[:NUM_NAMED]:
        logger.warning("refused '%s': %s", paths[key], refused[key].detail)
    if len(refused) > NUM_NAMED:
        logger.warning("refused %d more", len(refused) - NUM_NAMED)
    return refused


Decoded = tuple[UInt8Array, dict[str, Any]] | ImageRefusedError
Source = Path | bytes | ImageRefusedError  # where an image is: here, in memory, or nowhere


def _keep(batch: Iterable[tuple[str, Decoded]], store: ArrayStore, refused: dict[str, ImageRefusedError]) -> None:
    keys, rows, facts = [], [], []
    for key, result in batch:
        if isinstance(result, ImageRefusedError):
            refused[key] = result
        else:
            keys.append(key)
            rows.append(result[0])
            facts.append(result[1])
    if keys:
        store.append(keys, np.stack(rows), facts)


@dataclass(frozen=True)
class DecodeImages:
    """The task of an engine: from files, by path or by content and with the SHA-256 of each, to images as the model sees them."""

    side: int
    limits: Limits
    advance: Callable[[int], None] | None = None

    def open(self, cores: int) -> Callable[[Sequence[tuple[str, Source]]], list[Decoded]]:
        """A thread a core."""
        return lambda files: list(self._decode_all(files, cores))

    def _decode_all(self, files: Sequence[tuple[str, Source]], cores: int) -> Iterator[Decoded]:
        for decoded in in_threads(lambda file: _decode(file[0], file[1], self.side, self.limits), files, cores):
            yield decoded
            if self.advance:
                self.advance(1)


def _as_path(path: Path, _: Limits) -> Source:
    return path


def _read(path: Path, limits: Limits) -> bytes | ImageRefusedError:
    """The content of a file, or why it is not read."""
    try:
        check_size(path.stat().st_size, limits)  # a film among images is not read at all
        return path.read_bytes()
    except ImageRefusedError as error:
        return error
    except OSError as error:
        return ImageRefusedError("unreadable", f"cannot be read ({error.strerror})")


def _decode(key: str, source: Source, side: int, limits: Limits) -> Decoded:
    content = _read(source, limits) if isinstance(source, Path) else source
    if not isinstance(content, bytes):
        return content
    if hashlib.sha256(content).hexdigest() != key:
        return ImageRefusedError("changed", "is not the file that was listed")
    try:
        image, container = decode_one(content, side, limits)
    except ImageRefusedError as error:
        return error
    facts = container._asdict() | {"perceptual_hash": perceptual_hash(image)}
    return resize_and_crop(image, side), facts
