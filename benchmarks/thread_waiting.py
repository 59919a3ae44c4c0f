"""Threads that sleep while they wait, as ours, beside threads that spin, as ONNX Runtime's and OpenMP's do by default.

make bench-waiting       one process alone, then two at once, as a training beside a service
"""

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import mean, median

ROUNDS = 3
WAYS = ("sleep", "spin")


def main() -> None:
    from imageloop.training.features import exported_backbone
    from imageloop.workspace_paths import Workspace

    exported_backbone("efficientnet_lite0", 224, Workspace.current().backbones)  # once, and not while it is measured
    for work, what in (("predict", "256 images in ONNX Runtime"), ("train", "40 steps of the small network in PyTorch")):
        for number in (1, 2):
            found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
            for turn in range(ROUNDS):
                for way in sorted(WAYS, reverse=bool(turn % 2)):
                    found[way].append(at_once(work, way, number))
            for place, clock in enumerate(("wall", "processor")):
                slept, spun = (median(one[place] for one in found[way]) for way in WAYS)
                print(f"{what}, {number} at once: {slept:.1f} {clock} seconds asleep, {spun:.1f} spinning: {slept / spun:.2f}x")


def at_once(work: str, way: str, number: int) -> tuple[float, float]:
    """Wall and processor seconds of the work, by mean of `number` processes that begin together."""
    command = [sys.executable, __file__, work, way]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    processes = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(number)]
    found = [json.loads(process.communicate()[0]) for process in processes]
    wall, processor = (mean(values) for values in zip(*found, strict=True))
    return wall, processor


def timed(once: Callable[[], object], repeats: int) -> tuple[float, float]:
    once()
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        once()
    return time.perf_counter() - wall, time.process_time() - processor


def predict(way: str) -> tuple[float, float]:
    import numpy as np
    import onnxruntime

    from imageloop.model.onnx_session import open_session
    from imageloop.model.package import BATCH, INPUT
    from imageloop.training.features import exported_backbone
    from imageloop.workspace_paths import Workspace

    model = exported_backbone("efficientnet_lite0", 224, Workspace.current().backbones)
    session = open_session(model, os.cpu_count() or 1) if way == "sleep" else onnxruntime.InferenceSession(model)
    images_BSSC = np.random.default_rng(0).integers(0, 255, (BATCH, 224, 224, 3)).astype(np.uint8)
    return timed(lambda: session.run(None, {INPUT: images_BSSC}), 256 // BATCH)


def train(way: str) -> tuple[float, float]:
    # Whoever comes first says how PyTorch's threads wait.
    importlib.import_module("torch" if way == "spin" else "imageloop")
    import torch

    from imageloop.model.network import Classifier, baseline_features
    from imageloop.training.settings import BaselineCnn

    settings = BaselineCnn()
    model, side = Classifier(baseline_features(settings.channels), 2), settings.side_pixels
    optimizer = torch.optim.AdamW(model.parameters())
    images_BHWC, targets_B = torch.randint(0, 255, (16, side, side, 3), dtype=torch.uint8), torch.randint(0, 2, (16,))

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images_BHWC), targets_B).backward()
        optimizer.step()

    return timed(step, 40)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        print(json.dumps({"predict": predict, "train": train}[sys.argv[1]](sys.argv[2])))
