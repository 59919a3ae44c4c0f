"""What a head gains from drift augmentation of the training images, and from labelled images after the drift.

make bench-drift-augmentation        photographs of IMAGELOOP_TEST_DATA: 1,000 taught, 400 met, 600 that nobody learns from
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from sklearn.linear_model import LogisticRegression

from benchmarks.drift import CHANGES, _saved
from imageloop.data.image_statistics import NAMES, image_statistics
from imageloop.data.preprocessing import preprocess
from imageloop.data.settings import Limits
from imageloop.training.drift_augmentation import NUM_FITTED, fit_drift
from imageloop.training.features import FeatureExtractor
from imageloop.training.settings import DriftAugmentation
from imageloop.workspace_paths import Workspace

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # more wait for each other


ROOT = Path(__file__).parents[1]


CHANGED = CHANGES | {"blur of 4 pixels": lambda image: _saved(image.filter(ImageFilter.GaussianBlur(4)))}
NUM_TAUGHT, NUM_MET = 1000, 400
WEIGHT = 4  # of a labelled answer, as `feedback_weight`
EXTRACTOR = FeatureExtractor.of("efficientnet_lite0", 224, Workspace.current())


def main() -> None:
    named = os.environ.get("IMAGELOOP_TEST_DATA")
    if not named:
        sys.exit("error: expected IMAGELOOP_TEST_DATA to name the folder with photographs, got nothing there")
    folders = [sorted(Path(named, "data", "catsdogs", name).glob("*.jpg")) for name in ("cat", "dog")]
    files = [file for pair in zip(*folders, strict=True) for file in pair]
    taught, met, unseen = files[:NUM_TAUGHT], files[NUM_TAUGHT : NUM_TAUGHT + NUM_MET], files[NUM_TAUGHT + NUM_MET :]
    known = see(taught, None)
    taught_rows, plain = EXTRACTOR.run(known), EXTRACTOR.run(see(unseen, None))
    usual = head((taught_rows, labels(taught)))
    print(f"{len(taught)} photographs taught, {len(unseen)} unseen; as they are: {share(usual, plain, unseen):.1%}\n")
    print(
        f"{'drift':<20}{'before':>9}{'copies':>9}{'50 labels':>11}{'400 labels':>12}   accuracy without drift after copies; the change"
    )
    for name, change in CHANGED.items():
        if change is None:
            continue
        there = see(met, change)
        times = image_statistics(there[:100]).mean(0) / image_statistics(known).mean(0)
        target = DriftAugmentation(**dict(zip(NAMES, times.clip(0.01, 10).round(3).tolist(), strict=True)))
        fitted = fit_drift(known[:: len(known) // NUM_FITTED], target)
        copied = head((taught_rows, labels(taught)), (EXTRACTOR.run(fitted.apply(known)), labels(taught)))
        met_rows, new = EXTRACTOR.run(there), EXTRACTOR.run(see(unseen, change))
        labelled = [
            head((taught_rows, labels(taught)), *[(met_rows[:count], labels(met[:count]))] * WEIGHT) for count in (50, 400)
        ]
        print(
            f"{name:<20}{share(usual, new, unseen):>9.1%}{share(copied, new, unseen):>9.1%}{share(labelled[0], new, unseen):>11.1%}"
            f"{share(labelled[1], new, unseen):>12.1%}   {share(copied, plain, unseen):.1%}; {fitted}",
            flush=True,
        )


def see(files: list[Path], change) -> np.ndarray:
    def one(file: Path) -> np.ndarray:
        content = file.read_bytes() if change is None else change(Image.open(file).convert("RGB"))
        return preprocess(content, 224, Limits(min_side_pixels=8))

    with ThreadPoolExecutor(2) as pool:
        return np.stack(list(pool.map(one, files)))


def labels(files: list[Path]) -> np.ndarray:
    return np.array([file.parent.name for file in files])


def head(*parts):
    rows, targets = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    scale = float(np.linalg.norm(rows, axis=1).mean())
    model = LogisticRegression(C=10.0, max_iter=300).fit(rows / scale, targets)
    return lambda features: model.predict(features / scale)


def share(model, rows: np.ndarray, files: list[Path]) -> float:
    return float((model(rows) == labels(files)).mean())


if __name__ == "__main__":
    main()
