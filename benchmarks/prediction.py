"""Images a second from JPEG to label: the package, quantised and exact, beside eager PyTorch; and parts of a batch prediction beside the first.

make bench-prediction
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.benchmark_images import photographs
from benchmarks.benchmark_models import batch_model, random_predictor
from imageloop.batch_prediction.input_images import list_images
from imageloop.batch_prediction.job import BatchJob, open_output
from imageloop.batch_prediction.part_table import BatchModel
from imageloop.batch_prediction.predict_parts import predict_parts
from imageloop.batch_prediction.settings import BatchPredictionSettings
from imageloop.data.preprocessing import preprocess
from imageloop.data.settings import Limits
from imageloop.execution_engine import ThisProcess
from imageloop.model.int8_quantisation import quantise
from imageloop.model.package import EXACT_MODEL, INT8_MODEL
from imageloop.training.features import exported_backbone
from imageloop.workspace_paths import Workspace

NUM_IMAGES = int(os.environ.get("N", "1000"))
ROUNDS = 3


def eager(contents: list[bytes]) -> None:
    """What most services do: one image after the other through torch."""
    import torch

    from imageloop.model.backbones import load_backbone

    model = load_backbone("efficientnet_lite0")
    with torch.inference_mode():
        for content in contents:
            model(torch.from_numpy(preprocess(content, 224, Limits())[None].copy())).mean((2, 3))


def rate[Item](work: Callable[[list[Item]], Iterable[object] | None], items: list[Item]) -> float:
    started = time.perf_counter()
    for _ in work(items) or ():
        pass
    return len(items) / (time.perf_counter() - started)


def predict_to_parquet(model: BatchModel, files: list[Path], folder: Path) -> None:
    """What `predict --pipeline` does, from files to Parquet, without the start of a pipeline and its pages."""
    settings = BatchPredictionSettings(
        inputs=list(map(str, files)), output=str(folder), part_images=500, max_sampled=len(files) // 20
    )
    images = list_images(settings.inputs)
    job = BatchJob.of(images, settings, model.predictor, "1")
    predict_parts(images, job, model, open_output(str(folder), job), settings.max_sampled, "run", ThisProcess())


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        source, kind = photographs(scratch / "drawn")
        files = sorted(source.rglob("*.jpg"))[:NUM_IMAGES]
        contents = [path.read_bytes() for path in files]
        backbone = exported_backbone("efficientnet_lite0", 224, Workspace.current().backbones)
        quantise(backbone, scratch / "int8.onnx", np.stack([preprocess(content, 224, Limits()) for content in contents[:64]]))
        predictors = {
            file: random_predictor(features, scratch / file)
            for file, features in ((INT8_MODEL, scratch / "int8.onnx"), (EXACT_MODEL, backbone))
        }
        rates: dict[str, list[float]] = {"int8": [], "fp32": [], "eager": []}
        for _ in range(ROUNDS):  # interleaved, so that a slow minute of the machine hits all alike
            rates["int8"].append(rate(predictors[INT8_MODEL].predict_each, contents))
            rates["fp32"].append(rate(predictors[EXACT_MODEL].predict_each, contents))
            rates["eager"].append(rate(eager, contents[:100]))
        int8 = predictors[INT8_MODEL]
        model = batch_model(int8)
        pairs = []
        for number in range(ROUNDS + 2):
            bare = rate(lambda paths: int8.predict_each(path.read_bytes() for path in paths), files)
            pairs.append(rate(partial(predict_to_parquet, model, folder=scratch / f"out{number}"), files) / bare)
        middle = {key: median(values) for key, values in rates.items()}
        print(f"{len(contents):,} {kind}, median of {ROUNDS} rounds, {os.cpu_count()} cores")
        for key, value in middle.items():
            print(f"{key:<6} {value:6.0f} images a second, {value / middle['eager']:.1f} times eager PyTorch")
        print(
            f"parts of a batch prediction, int8: {median(pairs):.2f} times the predictor alone ({min(pairs):.2f} to {max(pairs):.2f})"
        )


if __name__ == "__main__":
    main()
