"""What each rung of the retraining ladder gives on other images of the same changed kind, and which one is chosen.

Shapes: N images of a window.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from benchmarks.loop.changes import CHANGES
from benchmarks.loop.features import UNCHANGED
from benchmarks.loop.models import LIKE, Model
from imageloop.training.retraining_ladder import NUM_FOLDS, LadderInput, compare_rungs

STRENGTH = 2
NUM_LABELS = (20, 50, 140)


@dataclass(frozen=True)
class RungRow:
    """One rung after one change: accuracy expected by cross-fitting, on other changed images, and on images as usual."""

    set: str
    change: str
    labels: int
    rung: str
    expected: float
    changed: float
    unchanged: float
    chosen: bool


def climb_ladders(model: Model) -> list[RungRow]:
    """Every rung for every change, with few and many labels."""
    return [row for name in CHANGES for row in _climb(model, name)]


def report(rows: list[RungRow]) -> dict[str, pd.DataFrame]:
    """Mean accuracies by rung and number of labels, by data set, and those of the chosen rung."""
    table = pd.DataFrame([asdict(row) for row in rows])
    rungs = table.pivot_table(index=["set", "labels"], columns="rung", values="changed", sort=False)
    chosen = table[table["chosen"]].groupby(["set", "labels"], sort=False)[["expected", "changed", "unchanged"]].mean()
    before = table[table["rung"] == "as it is"].groupby(["set", "labels"], sort=False)["unchanged"].mean()
    joined = rungs.join(chosen.add_prefix("chosen: ")).join(before.rename("unchanged before"))
    return {"accuracy after a retraining": (100 * joined).round(1)}


def _climb(model: Model, change: str) -> Iterator[RungRow]:
    cell, targets, half = (change, STRENGTH), model.images.targets_N, len(model.met) // 2
    labelled, others = model.met[:half], model.met[half:]
    changed, plain = model.images.embeddings[cell], model.images.embeddings[UNCHANGED, 0]
    copies, copied, _ = model.copies(LIKE.get(change, ()))
    for number in (number for number in NUM_LABELS if number <= half):
        rows = labelled[:number]
        given = LadderInput(
            changed[rows], targets[rows], np.arange(number) % NUM_FOLDS, np.ones(number, bool), np.ones(number, bool),
            plain[model.split["train"]], targets[model.split["train"]],
            plain[model.split["validation"]], targets[model.split["validation"]],
            copies, copied, model.head(change)[0], model.images.class_names, usual=0.0,
        )  # fmt: skip
        ladder = compare_rungs(given)
        for rung in ladder.rungs:
            head = given.fit(rung.name, np.arange(number))
            on_changed, on_plain = (
                float((head.logits(seen[others]).argmax(1) == targets[others]).mean()) for seen in (changed, plain)
            )
            yield RungRow(
                model.images.name,
                change,
                number,
                rung.name,
                rung.accuracy,
                on_changed,
                on_plain,
                rung.name == ladder.chosen,
            )
