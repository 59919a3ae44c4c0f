"""Features of the grid's images under every change, computed once and kept below `.imageloop/benchmarks`."""

import hashlib
import inspect
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.loop import changes
from imageloop.data.image_statistics import image_statistics
from imageloop.data.preprocessing import preprocess
from imageloop.data.settings import Limits
from imageloop.training import rehearsal
from imageloop.training.features import FeatureExtractor
from imageloop.training.rehearsed_copies import views
from imageloop.workspace_paths import Workspace

DATA_SETS = ("catsdogs", "antsbees", "flowers", "signdigits", "pets37")
MAX_IMAGES = 800  # of a data set
SIDE_PIXELS = 224
UNCHANGED = "unchanged"
Cell = tuple[str, int]  # a change and its strength, 1 to 3; strength 0 is unchanged
CELLS: tuple[Cell, ...] = ((UNCHANGED, 0), *((name, strength) for name in changes.CHANGES for strength in (1, 2, 3)))
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class ImageSet:
    """Embeddings and statistics of the same images under every change, (N, D) and (N, 4); and of the copies that the product rehearses with."""

    name: str
    class_names: list[str]
    targets_N: NDArray[np.int64]
    embeddings: dict[Cell, FloatArray]
    statistics: dict[Cell, FloatArray]
    rehearsed: list[FloatArray]
    rehearsed_cells: list[list[rehearsal.Cell]]


def image_sets(names: tuple[str, ...] = DATA_SETS) -> dict[str, ImageSet]:
    """The data sets below IMAGELOOP_TEST_DATA with their features; what is kept is not computed again."""
    named = os.environ.get("IMAGELOOP_TEST_DATA")
    if not named:
        sys.exit("error: expected IMAGELOOP_TEST_DATA to name the folder with photographs, got nothing there")
    return {name: image_set(name, Path(named, "data", name)) for name in names}


def image_set(name: str, folder: Path) -> ImageSet:
    """One folder of labelled images, at most `MAX_IMAGES` of them, evenly from every class."""
    class_names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    files, targets_N = _files(folder, class_names)
    kept = Workspace.current().state / "benchmarks" / f"loop-{name}-{_identity(files)}.npz"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        _compute(files, kept)
    with np.load(kept) as content:
        embeddings = {cell: content[f"embeddings {_key(cell)}"].astype(np.float32) for cell in CELLS}
        statistics = {cell: content[f"statistics {_key(cell)}"] for cell in CELLS}
        rehearsed = [content[name].astype(np.float32) for name in content.files if name.startswith("rehearsed")]
    cells = [cells for _, _, cells in views(_names(files))]
    return ImageSet(name, class_names, targets_N, embeddings, statistics, rehearsed, cells)


def _files(folder: Path, class_names: list[str]) -> tuple[list[Path], NDArray[np.int64]]:
    files, targets = [], []
    for place, name in enumerate(class_names):
        of_class = sorted(path for path in (folder / name).iterdir() if path.is_file())[: MAX_IMAGES // len(class_names)]
        files += of_class
        targets += [place] * len(of_class)
    return files, np.array(targets)


def _identity(files: list[Path]) -> str:
    sizes = ",".join(f"{path.name} {path.stat().st_size}" for path in files)
    words = inspect.getsource(changes) + rehearsal.REHEARSAL_VERSION + sizes
    return hashlib.sha256(words.encode()).hexdigest()[:12]


def _key(cell: Cell) -> str:
    return f"{cell[0]} {cell[1]}"


def _compute(files: list[Path], target: Path) -> None:
    extractor = FeatureExtractor.of("efficientnet_lite0", SIDE_PIXELS, Workspace.current())
    found: dict[str, np.ndarray] = {}
    with ThreadPoolExecutor(2) as pool:
        images = list(pool.map(lambda file: preprocess(file.read_bytes(), SIDE_PIXELS, Limits(min_side_pixels=8)), files))
        for name, strength in CELLS:
            seen = images
            if strength:
                change = changes.CHANGES[name][strength - 1]
                seen = list(pool.map(lambda pair: changes.changed(pair[1], change, pair[0]), enumerate(images)))  # noqa: B023
            found[f"embeddings {_key((name, strength))}"] = extractor.run(np.stack(seen)).astype(np.float16)
            found[f"statistics {_key((name, strength))}"] = image_statistics(np.stack(seen))
            print(f"{target.stem}: {name} {strength or ''}", file=sys.stderr, flush=True)
        for view, change, _ in views(_names(files)):
            found[f"rehearsed {view}"] = extractor.run(change(_names(files), np.stack(images))).astype(np.float16)
    np.savez(target, **found)


def _names(files: list[Path]) -> list[str]:
    return [hashlib.sha256(f"{path.parent.name}/{path.name}".encode()).hexdigest() for path in files]


if __name__ == "__main__":
    image_sets()
