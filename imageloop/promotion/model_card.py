"""The model card of a package: what the model is for, what it was trained on, how good it is, and where it is not.

It is Markdown in the form of Hugging Face's model cards. Source: Mitchell et al., Model Cards for Model Reporting, 2019.
"""

from collections.abc import Iterable, Sequence

from imageloop.data.catalog_schema import SPLITS
from imageloop.data.prepared_images import PreparedImages
from imageloop.intervals import Interval
from imageloop.model.package import PackageInfo
from imageloop.promotion.evaluation import Evaluation

HEAD = """---
pipeline_tag: image-classification
library_name: onnx
tags: [imageloop]
metrics: [accuracy]
---
"""
INTENDED_USE = (
    "To distinguish these classes in images like those that it was trained on. Every image gets one of them: where an image shows none of "
    "them, the prediction is wrong, however high its probability. The service says with each prediction whether the image resembles the training "
    "images (`in_distribution`)."
)
SAME_SOURCE = (
    "The test images come from the same source as the training images. With other cameras, light or objects the accuracy may be lower; the monitor "
    "measures such drift."
)
NUM_NAMED = 20


def model_card(info: PackageInfo, evaluation: Evaluation, images: PreparedImages) -> str:
    """The card of a package whose model was evaluated on the test images of `images`."""
    named = ", ".join(info.class_names[:NUM_NAMED]) + (", ..." if len(info.class_names) > NUM_NAMED else "")
    backbone = f"{info.backbone}, frozen, with a linear head" if info.backbone else f"{info.model_kind}, all of it trained"
    facts = [
        ("network", backbone),
        ("input", f"an RGB image, resized to {info.side_pixels} × {info.side_pixels} pixels"),
        ("output", "a calibrated probability of each class"),
        ("computed in", evaluation.precision),
        ("data version", info.data_version),
        ("code", f"commit {info.git_commit}" if info.git_commit else "no commit"),
    ]
    return "\n".join(
        [
            f"{HEAD}\n# Image classifier of {len(info.class_names)} classes\n\nClasses: {named}\n",
            f"## Model\n\n{_table(('', ''), facts)}",
            f"## Intended use\n\n{INTENDED_USE}\n",
            f"## Data\n\n{_table(('class', *SPLITS), _counts(images))}",
            f"## Evaluation\n\n{_accuracy(evaluation)}\n\n{_table(('class', 'recall', '95 %', 'precision', 'test images'), _by_class(evaluation))}",
            f"{_table(('kind of image', 'accuracy', '95 %', 'test images'), _slices(evaluation))}" if evaluation.slices else "",
            "## Limitations\n",
            *(f"- {one}" for one in [_weakest(evaluation), SAME_SOURCE] if one),
            "",
        ]
    )


def _accuracy(evaluation: Evaluation) -> str:
    low, high = evaluation.intervals["accuracy"]
    return (
        f"{evaluation.scores.accuracy:.1%} of {len(evaluation.predictions):,} test images, which took no part in training, are predicted right "
        f"(95 % interval {low:.1%} to {high:.1%}). Expected calibration error: {evaluation.calibration_error:.3f}."
    )


def _counts(images: PreparedImages) -> list[tuple[str, ...]]:
    counts = images.table.groupby(["label", "split"]).size()
    return [(name, *(f"{int(counts.get((name, split), 0)):,}" for split in SPLITS)) for name in images.class_names]


def _by_class(evaluation: Evaluation) -> list[tuple[str, ...]]:
    return [
        (name, f"{one.recall:.1%}", _interval(evaluation.intervals[f"{name}_recall"]), f"{one.precision:.1%}", f"{one.support:,}")
        for name, one in evaluation.scores.by_class.items()
    ]


def _slices(evaluation: Evaluation) -> list[tuple[str, ...]]:
    return [(part.name, f"{part.accuracy:.1%}", _interval(part.interval), f"{part.count:,}") for part in evaluation.slices]


def _weakest(evaluation: Evaluation) -> str:
    """The class that is recognised least often; empty where none was tested."""
    tested = {name: one for name, one in evaluation.scores.by_class.items() if one.support}
    if not tested:
        return ""
    name = min(tested, key=lambda name: tested[name].recall)
    return f"'{name}' is recognised least often: {tested[name].recall:.1%} of its {tested[name].support:,} test images."


def _interval(interval: Interval) -> str:
    return f"{interval[0]:.1%} to {interval[1]:.1%}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose columns are as wide in the text, too."""
    lines = [[_cell(cell) for cell in line] for line in (header, *rows)]
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "".join(f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |\n" for line in lines)


def _cell(text: str) -> str:
    """A class may have any name that a folder may have."""
    return " ".join(text.split()).replace("|", "\\|")
