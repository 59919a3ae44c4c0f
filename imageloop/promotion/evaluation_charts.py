"""Charts of an evaluation, as matplotlib figures without a window."""

import io

import numpy as np
from matplotlib.figure import Figure

from imageloop.promotion.evaluation import Evaluation
from imageloop.training.trained_model import EpochReport

MAX_SIDE_INCHES = 14.0
MAX_WRITTEN, MAX_LEGEND = 30, 12  # classes


def confusion_figure(evaluation: Evaluation) -> Figure:
    """Rows are the ground truth, columns the predictions."""
    names, matrix = evaluation.class_names, evaluation.confusion_KK
    side = min(max(3.5, 0.6 * len(names) + 2), MAX_SIDE_INCHES)
    figure = Figure((side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(matrix / matrix.sum(1, keepdims=True).clip(min=1), cmap="Blues", vmin=0, vmax=1)
    if len(names) <= MAX_WRITTEN:  # more are unreadable, and take minutes and gigabytes
        for row, column in np.ndindex(matrix.shape):
            dark = matrix[row, column] > matrix[row].sum() / 2
            axes.text(column, row, str(matrix[row, column]), ha="center", va="center", color="white" if dark else "black")
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", parse_math=False)
        axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set(xlabel="prediction", ylabel="ground truth", title="Confusion matrix")
    return figure


def roc_figure(evaluation: Evaluation) -> Figure:
    """Draw one curve for each class against all others."""
    from sklearn.metrics import auc, roc_curve

    figure = Figure((4.5, 4.5), layout="constrained")
    axes = figure.subplots()
    for name in evaluation.class_names:
        is_class = evaluation.predictions["label"] == name
        if is_class.nunique() == 2:
            false_rate, true_rate, _ = roc_curve(is_class, evaluation.predictions[f"p_{name}"])
            axes.plot(false_rate, true_rate, label=f"{name} (area {auc(false_rate, true_rate):.4f})")
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
    axes.set(xlabel="false positives", ylabel="true positives", title="ROC")
    if len(evaluation.class_names) <= MAX_LEGEND:
        for text in axes.legend(loc="lower right", fontsize="small").get_texts():
            text.set_parse_math(False)
    return figure


def calibration_figure(evaluation: Evaluation) -> Figure:
    """Draw confidence against accuracy: on the diagonal, 80 % confidence is right in 80 of 100 cases; the size of a dot is its share of images."""
    figure = Figure((4.5, 4.5), layout="constrained")
    axes = figure.subplots()
    confidence, right, count = (np.array(values) for values in zip(*evaluation.reliability, strict=True))
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
    axes.scatter(confidence, right, s=400 * count / count.sum() + 8)
    axes.set(xlabel="confidence", ylabel="share of right predictions", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.set_title(f"Calibration (expected error {evaluation.calibration_error:.3f})")
    return figure


def history_figure(history: list[EpochReport], best_epoch: int) -> Figure:
    """The losses of each epoch, and the epoch whose weights were used."""
    figure = Figure((6, 3.5), layout="constrained")
    axes = figure.subplots()
    epochs = range(len(history))
    axes.plot(epochs, [row.train_loss for row in history], label="train")
    axes.plot(epochs, [row.validation_loss for row in history], label="validation")
    axes.axvline(best_epoch, color="grey", linestyle=":", label="used")
    axes.set(xlabel="epoch", ylabel="loss", title="Loss", yscale="log")
    axes.legend(fontsize="small")
    return figure


def png_of(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    return content.getvalue()
