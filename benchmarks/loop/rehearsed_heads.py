"""What rehearsed copies give the first head: accuracy on unchanged images, and under changes that no copy showed."""

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from benchmarks.loop.features import CELLS, UNCHANGED
from benchmarks.loop.models import Model


@dataclass(frozen=True)
class HeadRow:
    """The accuracy on all images that are met under one change, without and with copies."""

    set: str
    change: str
    strength: int
    without: float
    with_copies: float


def compare_heads(rehearsed: Model, plain: Model) -> list[HeadRow]:
    """Both models under every change."""
    found = []
    for cell in CELLS:
        without, with_copies = (model.window(model.met, cell).accuracy for model in (plain, rehearsed))
        found.append(HeadRow(rehearsed.images.name, *cell, without, with_copies))
    return found


def report(rows: list[HeadRow]) -> dict[str, pd.DataFrame]:
    """Mean accuracies by data set and by change."""
    table = pd.DataFrame([asdict(row) for row in rows])
    table["images"] = np.where(table["change"] == UNCHANGED, UNCHANGED, "changed")
    values = ["without", "with_copies"]
    by_set = table.pivot_table(index="set", columns="images", values=values, sort=False).sort_index(
        axis=1, level=1, ascending=False
    )
    by_change = table.groupby("change", sort=False)[values].mean()
    return {"accuracy by data set": (100 * by_set).round(1), "accuracy by change": (100 * by_change).round(1)}
