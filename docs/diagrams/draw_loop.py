"""Draw the loop of the README: python docs/diagrams/draw_loop.py writes docs/images/loop.svg."""

from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

TARGET = Path(__file__).parents[1] / "images" / "loop.svg"
INK, LINE, SOFT = "#1f2430", "#3b6ea8", "#eef3f9"
STAGES = (
    ("data", "ingest\nvalidate\nsplit\nversion\nprepare"),
    ("training", "collect feedback\ntrain\nfind label issues\ncalibrate\nexport"),
    ("promotion", "evaluate\ngate\nsign\nregister\napprove"),
    ("deployment", "smoke test\ncanary or shadow\npromote or\nroll back"),
    ("monitoring", "collect records\nmeasure drift and\nperformance\ndecide, notify"),
)
TOOLS = ("DVC, pandera", "PyTorch, MLflow", "MLflow registry", "Seldon Core, Envoy", "Prometheus, SQL")
WIDTH, GAP, TOP, HEIGHT = 1.75, 0.45, 1.55, 1.75


def draw() -> Figure:
    """Five stages from left to right, and the arrow back."""
    figure = Figure(figsize=(11.4, 3.25))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-1.35, 11.05), ylim=(-0.75, 2.85))
    axes.axis("off")
    for number, ((name, steps), tool) in enumerate(zip(STAGES, TOOLS, strict=True)):
        left = number * (WIDTH + GAP) + 0.15
        _stage(axes, left, name, steps, tool)
        if number:
            _arrow(axes, (left - GAP, TOP + 0.1), (left, TOP + 0.1))
    _arrow(axes, (-0.35, TOP + 0.1), (0.15, TOP + 0.1))
    axes.text(-0.4, TOP + 0.1, "labelled\nimages", ha="right", va="center", fontsize=10, color=INK)
    last = 4 * (WIDTH + GAP) + 0.15 + WIDTH / 2
    axes.plot([last, last, 0.15 + WIDTH / 2], [TOP - HEIGHT / 2 - 0.38, 0.0, 0.0], color=LINE, lw=1.6, ls="--")
    _arrow(axes, (0.15 + WIDTH / 2, 0.0), (0.15 + WIDTH / 2, TOP - HEIGHT / 2 - 0.3), linestyle="--")
    axes.text(
        (last + 1) / 2, 0.1, "retrain on drift, on labels, or on a schedule", ha="center", va="bottom", fontsize=10, color=LINE
    )
    axes.text(
        5.2, -0.45, "ZenML runs every stage on the active stack: zenml stack set local | compose | kubernetes",
        ha="center", va="center", fontsize=10, color=INK,
    )  # fmt: skip
    return figure


def _stage(axes: Axes, left: float, name: str, steps: str, tool: str) -> None:
    bottom = TOP - HEIGHT / 2
    box = FancyBboxPatch((left, bottom), WIDTH, HEIGHT, boxstyle="round,pad=0,rounding_size=0.08", fc=SOFT, ec=LINE, lw=1.4)
    axes.add_patch(box)
    axes.text(left + WIDTH / 2, bottom + HEIGHT + 0.12, name, ha="center", va="bottom", fontsize=12, weight="bold", color=INK)
    axes.text(left + WIDTH / 2, TOP, steps, ha="center", va="center", fontsize=9, color=INK, linespacing=1.35)
    axes.text(left + WIDTH / 2, bottom - 0.08, tool, ha="center", va="top", fontsize=8.5, color="#5b6473", style="italic")


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], linestyle: str = "-") -> None:
    axes.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=14, lw=1.6, color=LINE, ls=linestyle, shrinkA=0, shrinkB=0)
    )


if __name__ == "__main__":
    mpl.rcParams |= {"svg.hashsalt": "imageloop", "svg.fonttype": "path", "font.family": "DejaVu Sans"}
    draw().savefig(TARGET, metadata={"Date": None}, facecolor="white")
