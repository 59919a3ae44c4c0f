"""What a GPU gains over this machine's processors, in one run: features, the small network, fine-tuning.

make bench-gpu                 needs a GPU that PyTorch can use
"""

import logging
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.benchmark_images import photographs
from imageloop.data.catalog import read_catalog
from imageloop.data.catalog_schema import content_hash
from imageloop.data.ingestion import prepared_store
from imageloop.data.prepared_images import PreparedImages, prepare
from imageloop.data.settings import Limits, SplitSettings
from imageloop.data.splits import split_catalog
from imageloop.training.devices import device_of
from imageloop.training.features import FeatureExtractor
from imageloop.training.settings import TrainingSettings
from imageloop.training.trainer import train
from imageloop.workspace_paths import HOME_VARIABLE, Workspace

ROOT = Path(__file__).parents[1]


BASELINE = {"kind": "baseline_cnn"}
FINE_TUNED = {"kind": "transfer", "fine_tune_blocks": 2}
NUM_EPOCHS = 2  # of those that are only timed


def images_of(folder: Path, workspace: Workspace, side: int) -> PreparedImages:
    catalog = read_catalog(folder, "folder", prepared_store(workspace.prepared, side), side, Limits())
    catalog = split_catalog(catalog, None, SplitSettings(), 3)
    return prepare(catalog, workspace.prepared, side, content_hash(catalog), folder)


def features(images: PreparedImages, workspace: Workspace) -> None:
    images_BHWC = images.open_store(workspace.prepared).read(images.table["sha256"].tolist()[:1024])
    found, rate = {}, {}
    for device in ("cpu", "cuda"):
        extractor = FeatureExtractor.of("efficientnet_lite0", images.side_pixels, workspace, device)
        extractor.run(images_BHWC[:128])
        started = time.perf_counter()
        found[device] = extractor.run(images_BHWC)
        rate[device] = len(images_BHWC) / (time.perf_counter() - started)
    print(f"features: {rate['cpu']:.0f} images a second by ONNX Runtime, {rate['cuda']:.0f} on the GPU ({rate['cuda'] / rate['cpu']:.1f} times); "
          f"they differ by at most {np.abs(found['cpu'] - found['cuda']).max():.1e}", flush=True)  # fmt: skip


def fitting(
    what: str, model: dict, images: PreparedImages, workspace: Workspace, device: str, epochs: int | None = None
) -> float:
    """Train and say how good it became; the seconds that an epoch took, of the last ones."""
    loop = "fine_tune" if model["kind"] == "transfer" else "loop"
    short = {loop: {"max_epochs": epochs, "patience_epochs": epochs}} if epochs else {}
    settings = TrainingSettings.model_validate({"model": model | short, "device": device})
    ended: list[float] = []
    started = time.perf_counter()
    trained = train(images, settings, workspace, lambda _: ended.append(time.perf_counter()))
    test = images.of_split("test")
    images_BHWC = torch.from_numpy(images.open_store(workspace.prepared).read(test["sha256"].tolist()))
    with torch.inference_mode():
        right = (trained.build(workspace.backbones)(images_BHWC).argmax(1).numpy() == images.targets(test)).mean()
    seconds = float(np.median(np.diff(ended)[-NUM_EPOCHS:]))
    print(f"{what} on {device}: {time.perf_counter() - started:.1f} s, {len(trained.history)} epochs, the last of {seconds:.2f} s each; "
          f"accuracy {right:.4f} on {len(test)} test images", flush=True)  # fmt: skip
    return seconds


def main() -> None:
    device_of("cuda")
    logging.basicConfig(format="  %(message)s")
    logging.getLogger("imageloop").setLevel(logging.INFO)
    print(
        f"{torch.cuda.get_device_name()} beside {len(os.sched_getaffinity(0))} processors, PyTorch {torch.__version__}",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as name:
        os.environ[HOME_VARIABLE] = name
        workspace = Workspace.current()
        folder, kind = photographs(Path(name, "drawn"))
        print(kind, flush=True)
        small, large = (images_of(folder, workspace, side) for side in (112, 224))
        features(large, workspace)
        for what, model, images in (("the small network", BASELINE, small), ("fine-tuning", FINE_TUNED, large)):
            here = fitting(what, model, images, workspace, "cpu", NUM_EPOCHS + 1)
            there = fitting(what, model, images, workspace, "cuda")
            print(f"{what}: an epoch on the GPU takes {there / here:.2f} times what it takes here", flush=True)


if __name__ == "__main__":
    main()
