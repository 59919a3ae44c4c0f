"""From 1,000 to 100,000 images: seconds and peak memory of each stage, how they grow, and one worker of a Ray cluster against two.

    make bench-scale            100,000 images, with two processors about an hour
    make bench-scale N=10000    fewer

Each stage runs in a process of its own, so that its peak memory is its own. The exponent of growth is that between the two largest sizes: 1
means that twice the images take twice the time.
"""

import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.benchmark_images import multiply, photographs
from imageloop.workspace_paths import Workspace

LARGEST = int(os.environ.get("N", "100000"))
SIZES = (LARGEST // 100, LARGEST // 10, LARGEST)
ROOT = Path(__file__).parents[1]
SIDE = 224
BACKBONE = "efficientnet_lite0"


def catalog(folder: Path, workspace: Workspace) -> None:
    """Read, check, decode and split every image."""
    from imageloop.data.catalog import read_catalog
    from imageloop.data.ingestion import prepared_store
    from imageloop.data.settings import DataSettings, Limits, SplitSettings
    from imageloop.data.splits import split_catalog

    files = read_catalog(folder, "folder", prepared_store(workspace.prepared, SIDE), SIDE, Limits())
    split_catalog(files, None, SplitSettings(), DataSettings().duplicate_bits).to_parquet(workspace.data / "catalog.parquet")


def features(folder: Path, workspace: Workspace) -> None:
    """Compute the features of every image, on the engine that RAY_ADDRESS names."""
    from imageloop.adapters.ray_engine import open_engine
    from imageloop.execution_engine import work_on
    from imageloop.training.features import known_features

    images = _images(folder, workspace)
    with work_on(open_engine):
        known_features(images, images.table, BACKBONE, workspace)


def train(folder: Path, workspace: Workspace) -> None:
    """Train a head on the features."""
    from imageloop.training.settings import TrainingSettings
    from imageloop.training.trainer import train as fit

    settings = TrainingSettings.model_validate({"model": {"kind": "transfer", "flipped_views": False}})
    fit(_images(folder, workspace), settings, workspace, lambda _: None)


def predict(folder: Path, workspace: Workspace) -> None:
    """Predict every image to Parquet files."""
    from benchmarks.benchmark_models import batch_model, random_predictor
    from imageloop.batch_prediction.input_images import list_images
    from imageloop.batch_prediction.job import BatchJob, open_output
    from imageloop.batch_prediction.predict_parts import predict_parts
    from imageloop.batch_prediction.settings import BatchPredictionSettings
    from imageloop.execution_engine import ThisProcess
    from imageloop.model.package import EXACT_MODEL
    from imageloop.training.features import exported_backbone

    model = batch_model(random_predictor(exported_backbone(BACKBONE, SIDE, workspace.backbones), workspace.state / EXACT_MODEL))
    settings = BatchPredictionSettings(inputs=[str(folder)], output=str(workspace.home / "predictions"))
    images = list_images(settings.inputs)
    job = BatchJob.of(images, settings, model.predictor, "1")
    predict_parts(images, job, model, open_output(str(settings.output), job), settings.max_sampled, "run", ThisProcess())


STAGES: dict[str, Callable[[Path, Workspace], None]] = {
    "catalog": catalog, "features": features, "train": train, "predict": predict,
}  # fmt: skip


def _images(folder: Path, workspace: Workspace):
    import pandas as pd

    from imageloop.data.catalog_schema import content_hash
    from imageloop.data.prepared_images import prepare

    table = pd.read_parquet(workspace.data / "catalog.parquet")
    return prepare(table, workspace.prepared, SIDE, content_hash(table), folder)


def run_stage(name: str, folder: Path, home: Path, environment: dict[str, str] | None = None) -> tuple[float, float]:
    """The seconds of a stage, and the peak of its memory in megabytes."""
    command = [sys.executable, "-m", "benchmarks.scale", name, str(folder), str(home)]
    done = subprocess.run(command, env=os.environ | (environment or {}), cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{name} of {folder.name} failed:\n{done.stderr[-2000:]}")
    seconds, peak = json.loads(done.stdout.splitlines()[-1])
    return seconds, peak


def one_stage(name: str, folder: Path, home: Path) -> None:
    """Run a stage in this process, and print its seconds and peak."""
    workspace = Workspace(home)
    started = time.perf_counter()
    STAGES[name](folder, workspace)
    seconds = time.perf_counter() - started
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


def site(folder: Path) -> Path:
    """A home with the backbone that is exported already."""
    workspace = Workspace(folder)
    workspace.state.mkdir(parents=True)
    workspace.data.mkdir()
    workspace.backbones.symlink_to(Workspace.current().backbones.resolve())
    return folder


def measure_sizes(source: Path, scratch: Path) -> None:
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in STAGES}
    for size in SIZES:
        folder, home = multiply(source, scratch / f"images{size}", size), site(scratch / f"home{size}")
        for name in STAGES:
            found[name].append(run_stage(name, folder, home))
            seconds, peak = found[name][-1]
            print(
                f"  {size:>9,} images  {name:<8} {seconds:7.1f} s  {size / seconds:7.0f} a second  peak {peak:5.0f} MB",
                flush=True,
            )
    for name, ((_, _), (few_s, few_mb), (many_s, many_mb)) in found.items():
        growth = math.log(many_s / few_s) / math.log(SIZES[2] / SIZES[1])
        print(f"{name:<8} grows with exponent {growth:.2f}; peak {many_mb / few_mb:.2f} times that of {SIZES[1]:,} images")


def measure_workers(source: Path, scratch: Path) -> None:
    """Features by one raylet of one processor, and by two."""
    from ray.cluster_utils import Cluster

    folder, home = multiply(source, scratch / "for workers", SIZES[1]), site(scratch / "workers")
    run_stage("catalog", folder, home)
    seconds = {}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        for workers in (1, 2):
            if workers == 2:
                cluster.add_node(num_cpus=1)
            environment = {"RAY_ADDRESS": cluster.address, "PYTHONPATH": str(ROOT)}
            seconds[workers], _ = run_stage("features", folder, home, environment)
            for store in Workspace(home).features.iterdir():  # or the second has nothing to do
                store.rename(scratch / f"{store.name}-{workers}")
    finally:
        cluster.shutdown()
    print(
        f"features of {SIZES[1]:,} images: one raylet {seconds[1]:.1f} s, two {seconds[2]:.1f} s ({seconds[1] / seconds[2]:.2f} times)"
    )


def main() -> None:
    if len(sys.argv) == 4:
        one_stage(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
        return
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        source, kind = photographs(scratch / "drawn")
        print(f"{kind}, {os.cpu_count()} processors", flush=True)
        measure_sizes(source, scratch)
        measure_workers(source, scratch)


if __name__ == "__main__":
    main()
