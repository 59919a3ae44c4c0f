"""Draw the demo loop: accuracy, drift, and which version had which share of the traffic."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imageloop.atomic_files import replacing
from imageloop.monitoring.windows import Window
from operations.demo_loop.traffic import SentRequest

ROLLING = 60  # predictions of one point of the accuracy
BIN_SECONDS = 2.0


@dataclass(frozen=True)
class Event:
    """An event of the timeline, with its time in Unix seconds."""

    time: float
    text: str


def draw_timeline(sent: Sequence[SentRequest], windows: Sequence[Window], events: Sequence[Event], target: Path) -> None:
    """Write a PNG of accuracy, drift and traffic over time."""
    from matplotlib.figure import Figure

    start = sent[0].time
    seconds = np.array([one.time - start for one in sent])
    figure = Figure(figsize=(11, 7), layout="constrained")
    accuracy, drift, traffic = figure.subplots(3, 1, sharex=True, height_ratios=[3, 2, 2])
    right = np.array([one.right for one in sent], float)
    sums = np.cumsum(np.insert(right, 0, 0))
    accuracy.plot(seconds[ROLLING - 1 :], (sums[ROLLING:] - sums[:-ROLLING]) / ROLLING, color="#14733c", label="accuracy")
    ends = [window.end - start for window in windows]
    shown = [window for window in windows if window.has_estimate]
    values = np.array([window.estimated_accuracy for window in shown])
    errors = [
        [0.0 if window.estimated_low is None else window.estimated_accuracy - window.estimated_low for window in shown],
        [0.0 if window.estimated_high is None else window.estimated_high - window.estimated_accuracy for window in shown],
    ]
    estimated_at = [window.end - start for window in shown]
    accuracy.errorbar(
        estimated_at,
        values,
        errors,
        fmt="o--",
        ms=3,
        lw=1,
        capsize=2,
        color="#8a8f9c",
        label="estimate without labels (90 % interval)",
    )
    accuracy.set(ylabel=f"accuracy\n(last {ROLLING} predictions)", ylim=(0, 1.02))
    accuracy.legend(loc="lower left", fontsize=8)
    colours = ["#b3261e" if window.alarm else "#3b6ea8" for window in windows]
    drift.bar(ends, [1 - window.p_value for window in windows], width=1.5, color=colours)
    drift.axhline(0.95, color="#b3261e", lw=0.8, ls=":")
    drift.set(ylabel="drift score\n(1 - p)", ylim=(0, 1.05))
    _draw_traffic(traffic, seconds, [one.version for one in sent])
    _write_events(accuracy, [drift, traffic], [(event.time - start, event.text) for event in events])
    with replacing(target) as aside:
        figure.savefig(aside, format="png", dpi=110)


def _draw_traffic(axes: Any, seconds: np.ndarray[Any, Any], versions: list[str]) -> None:
    edges = np.arange(0, seconds[-1] + BIN_SECONDS, BIN_SECONDS)
    names = sorted(set(versions), key=int)
    counts = np.array([np.histogram(seconds[[v == name for v in versions]], edges)[0] for name in names], float)
    shares = counts / np.maximum(counts.sum(0), 1)
    axes.stackplot(edges[:-1] + BIN_SECONDS / 2, shares, labels=[f"version {name}" for name in names], step=None)
    axes.set(ylabel="share of\nthe traffic", xlabel="seconds", ylim=(0, 1))
    axes.legend(loc="lower left", fontsize=8, ncols=len(names))


def _write_events(top: Any, others: list[Any], events: list[tuple[float, str]]) -> None:
    for number, (second, _) in enumerate(events, 1):
        for axes in (top, *others):
            axes.axvline(second, color="#1f2430", lw=0.6, alpha=0.5)
        top.text(second, 1.03, str(number), ha="center", va="bottom", fontsize=8, transform=top.get_xaxis_transform())
    legend = "\n".join(f"{number}  {max(0, second):.0f} s: {text}" for number, (second, text) in enumerate(events, 1))
    top.figure.supxlabel(legend, fontsize=8, x=0.06, ha="left")
