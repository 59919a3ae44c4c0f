"""Pictures a second from JPEG to label: the package, quantised and exact, beside eager PyTorch; and two that predict at once.

make bench-prediction
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, median

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import onnxruntime

from benchmarks.pictures import photographs
from classifier.data.settings import Limits
from classifier.model.export import attach_head, quantise
from classifier.model.package import BATCH, EXACT_MODEL, INPUT, INT8_MODEL, PackageInfo
from classifier.model.predictor import Predictor
from classifier.model.preprocessing import preprocess
from classifier.model.session import open_session
from classifier.training.features import exported_backbone
from classifier.workspace import Workspace

NUM_PICTURES = int(os.environ.get("N", "1000"))
ROUNDS = 3


def eager(contents: list[bytes]) -> None:
    """What most services do: one picture after the other through torch."""
    import torch

    from classifier.model.backbones import load_backbone

    model = load_backbone("efficientnet_lite0")
    with torch.inference_mode():
        for content in contents:
            model(torch.from_numpy(preprocess(content, 224, Limits())[None].copy())).mean((2, 3))


def rate(work: Callable[[list[bytes]], Iterable[object] | None], contents: list[bytes]) -> float:
    started = time.perf_counter()
    for _ in work(contents) or ():
        pass
    return len(contents) / (time.perf_counter() - started)


def seconds_of_batches(model: Path, spinning: bool) -> tuple[float, float]:  # noqa: FBT001
    """Wall and processor seconds of 256 pictures, in batches as evaluation has them, with threads that wait as they do by default or as ours."""
    session = onnxruntime.InferenceSession(model) if spinning else open_session(model, os.cpu_count() or 1)
    images_BSSC = np.random.default_rng(0).integers(0, 255, (BATCH, 224, 224, 3)).astype(np.uint8)
    session.run(None, {INPUT: images_BSSC})
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(256 // BATCH):
        session.run(None, {INPUT: images_BSSC})
    return time.perf_counter() - wall, time.process_time() - processor


def spinning_and_sleeping(model: Path) -> None:
    """One process alone, then two at once, as a training beside a service."""
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        for number in (1, 2):
            found: dict[bool, list[tuple[float, ...]]] = {True: [], False: []}
            for _ in range(ROUNDS):
                for spinning, seconds in found.items():
                    both = [pool.submit(seconds_of_batches, model, spinning) for _ in range(number)]
                    seconds.append(tuple(mean(one) for one in zip(*(future.result() for future in both), strict=True)))
            for place, what in enumerate(("wall", "processor")):
                spun, slept = (median(one[place] for one in found[spinning]) for spinning in (True, False))
                print(
                    f"{number} at once: {slept:.1f} {what} seconds where threads sleep, {spun:.1f} where they spin: {slept / spun:.2f}x"
                )


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        source, kind = photographs(scratch / "drawn")
        contents = [path.read_bytes() for path in sorted(source.rglob("*.jpg"))[:NUM_PICTURES]]
        backbone = exported_backbone("efficientnet_lite0", 224, Workspace.current().backbones)
        quantise(backbone, scratch / "int8.onnx", np.stack([preprocess(content, 224, Limits()) for content in contents[:64]]))
        info = PackageInfo(
            class_names=["a", "b"], side_pixels=224, preprocessing_version="1", model_kind="transfer", backbone="", temperature=1.0, seed=0,
            data_version="", git_commit="", run_id="", created_at=datetime.now(UTC),
        )  # fmt: skip
        weight = np.random.default_rng(0).normal(0, 0.05, (2, 1280)).astype(np.float32)
        predictors = {}
        for file, features in ((INT8_MODEL, scratch / "int8.onnx"), (EXACT_MODEL, backbone)):
            attach_head(features, scratch / file, weight, np.zeros(2, np.float32), 1.0)
            predictors[file] = Predictor(scratch / file, info, threads=os.cpu_count() or 1)
        rates: dict[str, list[float]] = {"int8": [], "fp32": [], "eager": []}
        for _ in range(ROUNDS):  # interleaved, so that a slow minute of the machine hits all alike
            rates["int8"].append(rate(predictors[INT8_MODEL].predict_each, contents))
            rates["fp32"].append(rate(predictors[EXACT_MODEL].predict_each, contents))
            rates["eager"].append(rate(eager, contents[:100]))
        middle = {key: median(values) for key, values in rates.items()}
        print(f"{len(contents):,} {kind}, median of {ROUNDS} rounds, {os.cpu_count()} cores")
        for key, value in middle.items():
            print(f"{key:<6} {value:6.0f} pictures a second, {value / middle['eager']:.1f} times eager PyTorch")
        spinning_and_sleeping(scratch / EXACT_MODEL)


if __name__ == "__main__":
    main()
