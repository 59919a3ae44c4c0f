"""Images to measure with: the real photographs where there are some, else drawn ones."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from imageloop.data.settings import GeneratedSource
from imageloop.data.sources.generated import bring_generated


def photographs(scratch: Path) -> tuple[Path, str]:
    """A folder of labelled images, and what they are."""
    named = os.environ.get("IMAGELOOP_TEST_DATA")
    if named and Path(named, "data", "catsdogs").is_dir():
        return Path(named, "data", "catsdogs"), "photographs"
    return bring_generated(GeneratedSource(num_images=2000), scratch), "drawn images (IMAGELOOP_TEST_DATA names no photographs)"


def multiply(folder: Path, target: Path, count: int, first: int = 0) -> Path:
    """`count` different images of all classes, numbered from `first`, made of those in `folder` by shifting them round."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    originals = [files[place] for place in np.random.default_rng(0).permutation(len(files))]
    for label in {path.parent.name for path in files}:
        (target / label).mkdir(parents=True, exist_ok=True)

    def make(index: int) -> None:
        original = originals[index % len(originals)]
        with Image.open(original) as image:
            pixels = np.roll(np.asarray(image.convert("RGB")), np.random.default_rng(index).integers(0, 200, 2), axis=(0, 1))
        Image.fromarray(pixels).save(target / original.parent.name / f"{index:06d}.jpg", quality=85)

    with ThreadPoolExecutor() as pool:
        list(pool.map(make, range(first, first + count)))
    return target
