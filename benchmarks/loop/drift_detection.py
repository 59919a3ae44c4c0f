"""How often unchanged windows alarm, and how many images show a change, beside the tests that other libraries use in the same run."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import kolmogorov

from benchmarks.loop.features import UNCHANGED, Cell
from benchmarks.loop.models import Model
from imageloop.embeddings.drift_samples import Sample
from imageloop.monitoring.drift import measure_drift
from imageloop.monitoring.drift_settings import DriftSettings

SETTINGS = DriftSettings()
REFERENCES, SIZES = (40, 100, 200), (25, 50, 100)
CALM, CHANGED = 20, 2  # windows of a model and size; of a change
FEWEST_SIZES = 5, 8, 12, 20, 35, 50, 100  # how many images show a change
FEWEST_STRENGTH, FEWEST_WINDOWS = 1, 8  # windows of a model
Test = Callable[[Sample, Sample, int], bool]


@dataclass(frozen=True)
class TestedWindow:
    """One window and whether a test alarmed."""

    data_set: str
    seed: int
    test: str
    reference: int
    change: str
    strength: int
    size: int
    alarm: bool


def test_windows(model: Model) -> list[TestedWindow]:
    """Test unchanged windows against references of three sizes, and changed ones against the largest."""
    found, rng = [], np.random.default_rng(model.seed)
    for reference in REFERENCES:
        for size in SIZES:
            for number in range(CALM):
                found += _tested(model, reference, size, (UNCHANGED, 0), number, rng)
    for cell in (cell for cell in model.images.embeddings if cell[1]):
        for size in SIZES:
            for number in range(CHANGED):
                found += _tested(model, REFERENCES[-1], size, cell, number, rng)
    return found


def detect_changes(model: Model) -> list[TestedWindow]:
    """Test windows of growing size in which one change of the least strength is in every image, against the largest reference."""
    rng = np.random.default_rng(model.seed)
    found = []
    for cell in (cell for cell in model.images.embeddings if cell[1] == FEWEST_STRENGTH):
        for size in FEWEST_SIZES:
            for number in range(FEWEST_WINDOWS):
                found += _tested(model, REFERENCES[-1], size, cell, number, rng)
    return found


def report_fewest(windows: list[TestedWindow]) -> dict[str, pd.DataFrame]:
    """The fewest images until half and until 95 of 100 windows alarm, by change and data set."""
    table = pd.DataFrame(windows)
    shares = table.pivot_table("alarm", ["test", "change", "data_set"], "size", sort=False)
    words = shares.apply(lambda row: f"{_fewest(row, 0.5)} / {_fewest(row, 0.95)}", axis=1).unstack("data_set")
    return {f"fewest images until half / 95 of 100 windows alarm, {name}": words.loc[name] for name in TESTS}


def _fewest(shares: pd.Series, share: float) -> str:
    """The smallest size from which on at least this share of windows alarms."""
    below = [size for size, reached in shares.dropna().items() if reached < share]
    larger = [size for size in shares.dropna().index if not below or size > max(below)]
    return str(min(larger)) if larger else "-"


def report(windows: list[TestedWindow]) -> dict[str, pd.DataFrame]:
    """Percentages of windows with an alarm."""
    table = pd.DataFrame(windows)
    table["alarm"] = 100.0 * table["alarm"]
    calm, changed = table[table["change"] == UNCHANGED], table[table["change"] != UNCHANGED]
    return {
        "false alarms %, by reference and window": calm.pivot_table("alarm", ["reference", "size"], "test", sort=False).round(1),
        "false alarms %, by data set": calm.pivot_table("alarm", "data_set", "test", sort=False).round(1),
        "changes noticed %, by window": changed.pivot_table("alarm", ["change", "strength"], ["test", "size"], sort=False).round(
            0
        ),
    }


def _tested(model: Model, reference: int, size: int, cell: Cell, number: int, rng: np.random.Generator) -> list[TestedWindow]:
    drawn = draw_windows(model, reference, size, rng)
    if drawn is None:
        return []
    known, window = sample_of(model, drawn[0], (UNCHANGED, 0)), sample_of(model, drawn[1], cell)
    return [
        TestedWindow(model.images.name, model.seed, name, reference, cell[0], cell[1], size, test(known, window, number))
        for name, test in TESTS.items()
    ]


def draw_windows(model: Model, reference: int, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray] | None:
    """Images of a reference and others of a window; None where the set has less than half of the reference's beside the window."""
    rows = rng.permutation(model.met)
    count = min(reference, len(rows) - size) if len(rows) > size else 0
    return None if count < reference * 0.5 else (rows[:count], rows[count : count + size])


def sample_of(model: Model, rows: np.ndarray, cell: Cell) -> Sample:
    """What the monitor knows of these images under a change."""
    embeddings = model.images.embeddings[cell][rows]
    return Sample(embeddings, model.images.statistics[cell][rows], model.predict(embeddings).astype(np.float32))


def test_by_permutations(reference: Sample, window: Sample, seed: int) -> bool:
    return measure_drift(reference, window, SETTINGS, seed).alarm


def _p_values(reference: Sample, window: Sample) -> np.ndarray:
    """Of a Kolmogorov-Smirnov test of every column, by the asymptotic distribution."""
    one, other = (
        np.concatenate([part.embeddings_ND, part.statistics_NS, part.probabilities_NK], axis=1) for part in (reference, window)
    )
    steps = np.where(np.arange(len(one) + len(other)) < len(one), 1 / len(one), -1 / len(other))
    both = np.concatenate([one, other])
    order = np.argsort(both, axis=0, kind="stable")
    heights = np.abs(np.cumsum(steps[order], axis=0))
    in_order = np.take_along_axis(both, order, axis=0)
    last_of_equals = np.concatenate([in_order[1:] != in_order[:-1], np.ones((1, both.shape[1]), bool)])
    distances = np.where(last_of_equals, heights, 0).max(0)
    return kolmogorov(distances * np.sqrt(len(one) * len(other) / (len(one) + len(other))))


def _bonferroni(reference: Sample, window: Sample, _: int) -> bool:
    """A test of every column with Bonferroni's correction: what KSDrift of Alibi Detect does by default."""
    p_values = _p_values(reference, window)
    return bool(p_values.min() < SETTINGS.false_alarm_rate / len(p_values))


def _half_of_columns(reference: Sample, window: Sample, _: int) -> bool:
    """Half of all columns drift, by a test of each: what DataDriftPreset of Evidently does by default, for small references."""
    return bool((_p_values(reference, window) < 0.05).mean() >= 0.5)


TESTS: dict[str, Test] = {
    "ImageLoop": test_by_permutations,
    "KS, Bonferroni": _bonferroni,
    "half of the columns": _half_of_columns,
}
