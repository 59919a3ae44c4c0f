"""Read, check and decode images, each content once: facts for the catalog, pixels for the store."""

import hashlib
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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
from imageloop.progress import track
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


def in_threads[T, R](function: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """Map in order with a thread a core, holding no more than a few results at a time."""
    num_threads = usable_cores()
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
    results = track(in_threads(lambda key: _decode_file(key, paths[key], side, limits), new), "decode", len(new))
    for batch in itertools.batched(zip(new, results, strict=True), SHARD_SIZE):
        _keep(batch, store, refused)
    logger.info("decoded %d images, %d were known, %d refused", len(new), len(paths) - len(new), len(refused))
    for key in list(refused)[:NUM_NAMED]:
        logger.warning("refused '%s': %s", paths[key], refused[key].detail)
    if len(refused) > NUM_NAMED:
        logger.warning("refused %d more", len(refused) - NUM_NAMED)
    return refused


Decoded = tuple[UInt8Array, dict[str, Any]] | ImageRefusedError


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


def _decode_file(key: str, path: Path, side: int, limits: Limits) -> Decoded:
    try:
        check_size(path.stat().st_size, limits)  # a film among images is not read at all
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != key:
            return ImageRefusedError("changed", "is not the file that was listed")
        image, container = decode_one(content, side, limits)
    except ImageRefusedError as error:
        return error
    except OSError as error:
        return ImageRefusedError("unreadable", f"cannot be read ({error.strerror})")
    facts = container._asdict() | {"perceptual_hash": perceptual_hash(image)}
    return resize_and_crop(image, side), facts
