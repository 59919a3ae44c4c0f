"""What the last blocks gain over a head, where images of labelled predictions were retained, and what that costs on images as usual.

make bench-last-blocks                     hand signs, flowers, cats and dogs of IMAGELOOP_TEST_DATA, with noise and cropped
make bench-last-blocks SETS="pets37"       others
"""

import hashlib
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from benchmarks.loop.changes import CHANGES
from imageloop.data.ingestion import prepared_store
from imageloop.data.prepared_images import PreparedImages
from imageloop.data.preprocessing import preprocess
from imageloop.data.settings import Limits
from imageloop.training.features import FeatureExtractor
from imageloop.training.feedback_data import FeedbackData
from imageloop.training.feedback_images import FeedbackImages
from imageloop.training.settings import FeedbackSettings, TrainingSettings
from imageloop.training.trained_model import TrainedModel
from imageloop.training.trainer import train
from imageloop.workspace_paths import Workspace

SETS = (os.environ.get("SETS") or "signdigits flowers catsdogs").split()
CHANGED = (("noise", 2), ("crop and shift", 3))
NUM_IMAGES, NUM_LABELS, SIDE = 1000, 350, 224
SETTINGS = TrainingSettings()


def main() -> None:
    data = Path(os.environ.get("IMAGELOOP_TEST_DATA", ""), "data")
    if not data.is_dir():
        sys.exit("error: expected IMAGELOOP_TEST_DATA to name the folder with photographs, got nothing there")
    print(
        f"{'set, change':<32}{'before':>8}{'head':>8}{'blocks':>8}   as usual, before / head / blocks     seconds, head / blocks"
    )
    for name in SETS:
        with tempfile.TemporaryDirectory() as home:
            measure(data / name, Workspace(Path(home)))


def measure(folder: Path, workspace: Workspace) -> None:
    """Train on half of a set, label changed images of the other half, and retrain; the last fifth is seen by nothing."""
    workspace.state.mkdir()
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".jpg", ".png"))
    chosen = np.random.default_rng(0).permutation(len(files))[:NUM_IMAGES]
    files = [files[place] for place in chosen]
    pixels = np.stack([preprocess(file.read_bytes(), SIDE, Limits(min_side_pixels=8)) for file in files])
    names = sorted({file.parent.name for file in files})
    targets = np.array([names.index(file.parent.name) for file in files])
    taught, met, unseen = np.split(np.arange(len(files)), [int(0.45 * len(files)), int(0.8 * len(files))])
    images = _data_set(files, pixels, taught, names, workspace)
    champion = train(images, SETTINGS, workspace, lambda _: None)
    usual = accuracy(champion, pixels[unseen], targets[unseen])
    for change, strength in CHANGED:
        rng = np.random.default_rng(0)
        changed = np.stack([np.asarray(CHANGES[change][strength - 1](Image.fromarray(image), rng)) for image in pixels])
        feedback, seen = _labelled(changed[met[:NUM_LABELS]], targets[met[:NUM_LABELS]], names, workspace)
        found = []
        for given in (None, seen):
            started = time.monotonic()
            trained = train(images, SETTINGS, workspace, lambda _: None, feedback, given)
            found.append((trained, time.monotonic() - started))
        accuracies = [accuracy(one, changed[unseen], targets[unseen]) for one in (champion, *(trained for trained, _ in found))]
        plain = [usual, *(accuracy(trained, pixels[unseen], targets[unseen]) for trained, _ in found)]
        print(
            f"{f'{folder.name}, {change}, {len(feedback.labelled)} labels':<32}" + "".join(f"{100 * one:>8.1f}" for one in accuracies)
            + "   " + " / ".join(f"{100 * one:.1f}" for one in plain) + "     " + " / ".join(f"{seconds:.0f}" for _, seconds in found),
            flush=True,
        )  # fmt: skip


def accuracy(trained: TrainedModel, images: np.ndarray, targets: np.ndarray) -> float:
    """The share of images that the network gets right."""
    network = trained.build(Workspace.current().backbones).eval()
    with torch.inference_mode():
        found = [network(torch.from_numpy(images[start : start + 32])).argmax(1) for start in range(0, len(images), 32)]
    return float((torch.cat(found).numpy() == targets).mean())


def _data_set(files: list[Path], pixels: np.ndarray, rows: np.ndarray, names: list[str], workspace: Workspace) -> PreparedImages:
    keys = [hashlib.sha256(files[row].read_bytes()).hexdigest() for row in rows]
    table = pd.DataFrame({"sha256": keys, "label": [files[row].parent.name for row in rows]})
    table["split"] = np.where(np.arange(len(rows)) % 10 == 0, "validation", "train")
    first = ~table["sha256"].duplicated().to_numpy()
    prepared_store(workspace.prepared, SIDE).append(table["sha256"][first].tolist(), pixels[rows[first]])
    return PreparedImages(table[first].reset_index(drop=True), names, SIDE, "benchmark", "")


def _labelled(
    images: np.ndarray, targets: np.ndarray, names: list[str], workspace: Workspace
) -> tuple[FeedbackData, FeedbackImages]:
    features = FeatureExtractor.of(SETTINGS.label_backbone, SIDE, workspace).run(images)
    validates = np.arange(len(images)) % 8 == 0
    table = pd.DataFrame(
        {
            "request_id": [f"{row}" for row in range(len(images))], "ground_truth": [names[target] for target in targets],
            "role": np.where(validates, "validation", "train"), "embedding": [row.astype(np.float16).tobytes() for row in features],
        }
    )  # fmt: skip
    feedback = FeedbackData(
        table, pd.DataFrame(), SETTINGS.label_backbone, SIDE, fine_tune_minutes=FeedbackSettings().fine_tune_minutes
    )
    return feedback, FeedbackImages(images[~validates], targets[~validates], images[validates])


if __name__ == "__main__":
    main()
