"""How many honest windows are accused of poisoned labels, and how many windows with flipped labels are, by the product's own rule.

Half of the labels of a window come from one source, half from another; only the first one flips a share of its labels to other classes.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.loop.features import UNCHANGED
from benchmarks.loop.models import Model, Window
from imageloop.embeddings.drift_samples import with_typical
from imageloop.embeddings.novelty import Novelty
from imageloop.training.poisoned_labels import accused_labels

SIZES = (100, 200, 400)
SHARES = {"honest": 0.0, "a twentieth flipped": 0.05, "a fifth flipped": 0.2, "half flipped": 0.5, "all flipped": 1.0}
REPETITIONS = {UNCHANGED: 6}  # windows of a condition; of changed ones, there are 24
SOURCES = ("first", "second")


@dataclass(frozen=True)
class JudgedWindow:
    """One window of labels, and which of its two sources is accused."""

    data_set: str
    seed: int
    change: str
    strength: int
    size: int
    labels: str
    first_accused: bool
    second_accused: bool


def judge_windows(model: Model) -> list[JudgedWindow]:
    """Judge windows of labels under every condition."""
    rng = np.random.default_rng(model.seed)
    plain = model.images.embeddings[UNCHANGED, 0]
    train = model.split["train"]
    novelty = Novelty.of(plain[train], model.num_classes, model.images.targets_N[train])
    known = plain[train], model.images.targets_N[train]
    found = []
    for cell in model.images.embeddings:
        for size in SIZES:
            for _ in range(REPETITIONS.get(cell[0], 1)):
                rows = rng.choice(model.met, min(size, len(model.met)), replace=False)
                window = model.window(rows, cell)
                for name, share in SHARES.items():
                    table = with_typical(_labelled(model, window, share, rng), novelty)
                    reasons = accused_labels(table, known, model.images.class_names)
                    accused = [bool((reasons[table["feedback_source"] == source] != "").any()) for source in SOURCES]
                    found.append(JudgedWindow(model.images.name, model.seed, *cell, size, name, *accused))
    return found


def report(windows: list[JudgedWindow]) -> dict[str, pd.DataFrame]:
    """The percentage of windows in which each source is accused, by the number of labels, and honest ones by data set."""
    table = pd.DataFrame(windows)
    table["images"] = np.where(table["change"] == UNCHANGED, "unchanged", "changed")
    poisoned = table.pivot_table("first_accused", ["images", "size"], "labels", "mean", sort=False)[list(SHARES)]
    honest = table.assign(accused=table["second_accused"] | ((table["labels"] == "honest") & table["first_accused"]))
    by_set = honest[honest["size"] >= SIZES[1]].pivot_table("accused", "data_set", "images", "mean", sort=False)
    return {
        "source accused %": (100 * poisoned).round(1),
        "an honest source accused %, of 200 and 400 labels": (100 * by_set).round(1),
    }


def _labelled(model: Model, window: Window, share: float, rng: np.random.Generator) -> pd.DataFrame:
    names, count = np.array(model.images.class_names), len(window.classes_N)
    classes_N, half = window.classes_N.copy(), count // 2
    flipped = rng.choice(half, round(share * half), replace=False)
    classes_N[flipped] = (classes_N[flipped] + rng.integers(1, model.num_classes, len(flipped))) % model.num_classes
    return pd.DataFrame(
        {
            "label": names[window.probabilities_NK.argmax(1)],
            "ground_truth": names[classes_N],
            "confidence": window.probabilities_NK.max(1),
            "feedback_source": np.where(np.arange(count) < half, *SOURCES),
            "feedback_time": np.arange(count, dtype=float),
            "embedding": [row.astype(np.float16).tobytes() for row in window.embeddings_ND],
        }
    )
