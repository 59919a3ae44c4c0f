"""Ways to fine-tune, side by side on images that none of them saw: a frozen backbone, all blocks, and what changes how these are trained.

make bench-fine-tuning                   photographs of IMAGELOOP_TEST_DATA, with two processors some ten minutes a data set
make bench-fine-tuning SETS=flowers      one of them
"""

import os
import time

import numpy as np
from numpy.typing import NDArray

from benchmarks.tuning import data_sets, split_images
from imageloop.data.prepared_images import PreparedImages, in_batches
from imageloop.intervals import paired_interval, paired_wins
from imageloop.training.settings import TrainingSettings
from imageloop.training.trained_model import TrainedModel
from imageloop.training.trainer import train
from imageloop.workspace_paths import Workspace

SETS = ("antsbees", "flowers", "signdigits")
SPLIT = 1
ALL = {"fine_tune_blocks": 99}
RECIPES: dict[str, dict] = {
    "head": {},
    "all blocks": ALL,
    "layer decay 0.8": ALL | {"fine_tune": {"layer_decay": 0.8, "learning_rate": 3e-4}},
    "mixup and CutMix": ALL | {"fine_tune": {"mixup_alpha": 0.2, "cutmix_alpha": 1.0}},
    "moving average": ALL | {"fine_tune": {"ema_decay": 0.99, "learning_rate": 3e-4}},
    "LoRA of rank 8": ALL | {"lora": {"rank": 8, "alpha": 16}, "fine_tune": {"learning_rate": 1e-3}},
    "distilled": ALL | {"distillation": {}},
}


def main() -> None:
    recipes = os.environ.get("RECIPES", ",".join(RECIPES)).split(",")
    for name, folder, workspace in data_sets(SETS):
        measure(split_images(folder, SPLIT, workspace), name, recipes, workspace)


def measure(images: PreparedImages, name: str, recipes: list[str], workspace: Workspace) -> None:
    """Print accuracy on the test images by recipe, and how much it is above that of the head alone."""
    of_head: NDArray[np.bool_] | None = None
    for recipe in recipes:
        settings = TrainingSettings.model_validate({"model": {"kind": "transfer"} | RECIPES[recipe]})
        started = time.perf_counter()
        trained = train(images, settings, workspace, lambda _: None)
        seconds = time.perf_counter() - started
        right_N = right(trained, images, workspace)
        of_head = right_N if of_head is None else of_head
        low, high = paired_interval(*paired_wins(right_N, of_head), len(right_N))
        taught = (
            f"; its teacher {trained.teacher.validation_accuracy:.4f} on validation, {trained.teacher.milliseconds:.1f} ms"
            if trained.teacher
            else ""
        )
        print(f"{name}, {recipe}: {right_N.mean():.4f} of {len(right_N)} test images; {right_N.mean() - of_head.mean():+.4f} beside the head "
              f"(95 %: {low:+.4f} to {high:+.4f}); {'head alone' if trained.head_only else 'blocks'}, {seconds:.0f} s{taught}", flush=True)  # fmt: skip


def right(trained: TrainedModel, images: PreparedImages, workspace: Workspace) -> NDArray[np.bool_]:
    """Which test images the network predicts right, (N,)."""
    import torch

    test, network = images.of_split("test"), trained.build(workspace.backbones)
    batches = in_batches(images.open_store(workspace.prepared), test["sha256"].tolist(), 32)
    with torch.inference_mode():
        predicted_N = np.concatenate([network(torch.from_numpy(batch)).argmax(1).numpy() for batch in batches])
    found: NDArray[np.bool_] = predicted_N == images.targets(test)
    return found


if __name__ == "__main__":
    main()
