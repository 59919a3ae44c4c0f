"""What a search gains: the winner beside the training without a search, on test images that neither saw, five splits of each data set.

make bench-tuning                  heads alone, with two processors some minutes a data set
make bench-tuning SETS=flowers     one of them
"""

import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imageloop.data.catalog import read_catalog
from imageloop.data.catalog_schema import content_hash
from imageloop.data.ingestion import prepared_store
from imageloop.data.prepared_images import PreparedImages, prepare
from imageloop.data.settings import DataSettings, Limits, SplitSettings
from imageloop.data.splits import split_catalog
from imageloop.intervals import paired_interval, paired_wins
from imageloop.training.features import known_features
from imageloop.training.settings import TrainingSettings
from imageloop.training.trainer import train
from imageloop.tuning.settings import SearchSettings
from imageloop.tuning.study import search
from imageloop.tuning.trials import transfer_of
from imageloop.workspace_paths import Workspace

SETS = ("catsdogs", "flowers", "pets37", "signdigits")
SEEDS = range(1, 6)
SIDE = 224
SHARES = {"train": 0.65, "validation": 0.15, "test": 0.2}
SEARCH = {"trials": 20, "fine_tune_trials": 0, "minutes": None}


def main() -> None:
    for name, folder, workspace in data_sets(SETS):
        measure(name, folder, workspace)


def data_sets(usual: Sequence[str]) -> Iterator[tuple[str, Path, Workspace]]:
    """The data sets that SETS names, below IMAGELOOP_TEST_DATA, with one workspace for all of them."""
    named = os.environ.get("IMAGELOOP_TEST_DATA")
    if not named:
        sys.exit("error: expected IMAGELOOP_TEST_DATA to name the folder with photographs, got nothing there")
    with tempfile.TemporaryDirectory() as scratch:
        workspace = Workspace(Path(scratch))
        workspace.state.mkdir()
        workspace.backbones.symlink_to(Workspace.current().backbones.resolve())
        for name in os.environ.get("SETS", ",".join(usual)).split(","):
            yield name, Path(named, "data", name), workspace


def measure(name: str, folder: Path, workspace: Workspace) -> None:
    """Print accuracy on the test images of five splits, without a search and of its winner, and their paired difference."""
    without, tuned, seconds, winners = [], [], [], []
    for seed in SEEDS:
        images = split_images(folder, seed, workspace)
        base = TrainingSettings()
        found = search(images, base, SearchSettings.model_validate(SEARCH | {"seed": seed}), f"{name}-{seed}", workspace)
        without.append(right(images, base, workspace))
        tuned.append(right(images, found.settings, workspace))
        trials = [trial.result.seconds for trial in found.trials if trial.result]
        seconds.append(statistics.median(trials))
        winners.append(transfer_of(found.settings).backbone.replace("efficientnet_", ""))
        print(
            f"  {name} split {seed}: {np.mean(without[-1]):.4f} without, {np.mean(tuned[-1]):.4f} with a search ({winners[-1]})",
            flush=True,
        )
    one_N, other_N = np.concatenate(tuned), np.concatenate(without)
    wins, losses = paired_wins(one_N, other_N)
    low, high = paired_interval(wins, losses, len(one_N))
    gain = one_N.mean() - other_N.mean()
    print(f"{name}: {other_N.mean():.4f} without a search, {one_N.mean():.4f} with; gain {gain:+.4f} (95 %: {low:+.4f} to {high:+.4f}), "
          f"{len(one_N):,} test images of {len(SEEDS)} splits; a trial {statistics.median(seconds):.2f} s", flush=True)  # fmt: skip


def split_images(folder: Path, seed: int, workspace: Workspace) -> PreparedImages:
    store = prepared_store(workspace.prepared, SIDE)
    catalog = split_catalog(
        read_catalog(folder, "folder", store, SIDE, Limits()),
        None,
        SplitSettings(seed=seed, **SHARES),
        DataSettings().duplicate_bits,
    )
    return prepare(catalog, workspace.prepared, SIDE, content_hash(catalog), folder)


def right(images: PreparedImages, settings: TrainingSettings, workspace: Workspace) -> NDArray[np.bool_]:
    """Which test images a training with these settings predicts right, (N,)."""
    trained = train(images, settings, workspace, lambda _: None)
    test = images.of_split("test")
    features_ND = known_features(images, test, transfer_of(settings).backbone, workspace)
    logits_NK = features_ND @ trained.state["head.weight"].numpy().T + trained.state["head.bias"].numpy()
    predicted_right: NDArray[np.bool_] = logits_NK.argmax(1) == images.targets(test)
    return predicted_right


if __name__ == "__main__":
    main()
