"""How far accuracy estimates without labels lie from the accuracy, how often their intervals hold it, and what the damage alarm notices."""

import time
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.loop.features import UNCHANGED
from benchmarks.loop.models import Model
from imageloop.embeddings.accuracy_estimator import MAX_WIDTH
from imageloop.monitoring.settings import DecisionSettings

REPETITIONS = 2
FALL = 0.1  # of accuracy, that should alarm


@dataclass(frozen=True)
class EstimatedWindow:
    """One window of the grid with its estimates; `in_package`: by an estimator that rehearsed changes like that of the window too."""

    data_set: str
    seed: int
    change: str
    strength: int
    mix: str
    size: int
    accuracy: float
    usual: float
    estimate: float
    low: float
    high: float
    shown: bool
    alarm: bool
    in_package: float
    confidence: float


def estimate_windows(model: Model) -> list[EstimatedWindow]:
    """Estimate every window of a model with an estimator that rehearsed nothing like its change."""
    settings, found, estimators = DecisionSettings(), [], {}
    usual, in_package = model.accuracy_unchanged(), model.estimator(None)
    for window in model.windows(REPETITIONS):
        if window.change not in estimators:
            estimators[window.change] = model.estimator(window.change)
        estimate = estimators[window.change].estimate(window.embeddings_ND, window.probabilities_NK)
        found.append(
            EstimatedWindow(
                model.images.name, model.seed, window.change, window.strength, window.mix, window.size, window.accuracy, usual,
                estimate.value, estimate.low, estimate.high, estimate.high - estimate.low <= MAX_WIDTH,
                estimate.usual - estimate.value > settings.max_estimated_loss,
                in_package.estimate(window.embeddings_ND, window.probabilities_NK).value, float(window.probabilities_NK.max(1).mean()),
            )
        )  # fmt: skip
    return found


def report(windows: list[EstimatedWindow]) -> dict[str, pd.DataFrame]:
    """Tables by change, by data set, and of the damage alarm by the size of the window."""
    table = pd.DataFrame(windows)
    table["error"] = 100 * (table["estimate"] - table["accuracy"]).abs()
    table["error_in_package"] = 100 * (table["in_package"] - table["accuracy"]).abs()
    table["error_of_confidence"] = 100 * (table["confidence"] - table["accuracy"]).abs()
    table["held"] = table["accuracy"].between(table["low"], table["high"])
    table["width"] = 50 * (table["high"] - table["low"])
    table["condition"] = table["mix"].where(table["mix"] != "", table["change"])
    changed = table[(table["change"] != UNCHANGED) & (table["mix"] == "")]
    return {
        "by change": _errors(table, "condition"),
        "by data set": _errors(changed, "data_set"),
        "over all": _errors(changed.assign(all="changed windows"), "all"),
        "damage alarm": _alarms(table),
    }


def _errors(table: pd.DataFrame, by: str) -> pd.DataFrame:
    groups = table.groupby(by, sort=False)
    return pd.DataFrame(
        {
            "windows": groups.size(),
            "mean": groups["error"].mean(),
            "95 %": groups["error"].quantile(0.95),
            "worst": groups["error"].max(),
            "in a package: mean": groups["error_in_package"].mean(),
            "95 % ": groups["error_in_package"].quantile(0.95),
            "confidence: mean": groups["error_of_confidence"].mean(),
            "95 %  ": groups["error_of_confidence"].quantile(0.95),
            "interval holds %": 100 * groups["held"].mean(),
            "half width": groups["width"].mean(),
            "no estimate %": 100 * (1 - groups["shown"].mean()),
        }
    ).round(1)


def _alarms(table: pd.DataFrame) -> pd.DataFrame:
    table = table[table["mix"] == ""]
    unchanged, fall = table["change"] == UNCHANGED, table["usual"] - table["accuracy"]
    rows = {}
    for name, size in [
        *((f"{size} images", table["size"] == size) for size in sorted({*table["size"]})),
        ("all", table["size"] > 0),
    ]:
        share = lambda mask, size=size: 100 * table.loc[mask & size, "alarm"].mean()  # noqa: E731
        rows[name] = {
            "falls of more than 10 points": share(~unchanged & (fall > FALL)),
            "smaller falls": share(~unchanged & (fall <= FALL)),
            "falls of less than 5 points": share(~unchanged & (fall < FALL / 2)),
            "unchanged": share(unchanged),
        }
    return pd.DataFrame(rows).T.round(1)


def milliseconds_per_window(model: Model, size: int = 100) -> float:
    """The time of one estimate."""
    estimator, window = model.estimator(None), model.window(model.met[:size], (UNCHANGED, 0))
    times = []
    for _ in range(20):
        started = time.perf_counter()
        estimator.estimate(window.embeddings_ND, window.probabilities_NK)
        times.append(time.perf_counter() - started)
    return 1000 * float(np.median(times))
