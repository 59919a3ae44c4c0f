"""The evaluation, the gates and the label issues as HTML pages."""

import pandas as pd

from imageloop import html_pages
from imageloop.data.data_report import ImageReader
from imageloop.promotion.evaluation import Evaluation
from imageloop.promotion.gates import GateVerdict

MAX_MISTAKES = 24


def evaluation_report(evaluation: Evaluation, read_image: ImageReader) -> str:
    """An HTML page: metrics with intervals, slices, charts, and the worst mistakes as images."""
    from imageloop.promotion.evaluation_charts import calibration_figure, confusion_figure, png_of, roc_figure

    scores, (low, high) = evaluation.scores, evaluation.intervals["accuracy"]
    lead = (
        f"{scores.accuracy:.1%} of {len(evaluation.predictions):,} test images are predicted right (95 % interval {low:.1%} to {high:.1%}). "
        f"{evaluation.milliseconds_per_image:.1f} ms an image, {evaluation.precision}."
    )
    by_class = [
        (name, row.precision, row.recall, row.f1, "{:.3f} to {:.3f}".format(*evaluation.intervals[f"{name}_recall"]), row.support)
        for name, row in scores.by_class.items()
    ]
    slices = [
        (part.name, part.count, part.accuracy, f"{part.interval[0]:.3f} to {part.interval[1]:.3f}") for part in evaluation.slices
    ]
    charts = [html_pages.chart(png_of(draw(evaluation))) for draw in (confusion_figure, roc_figure, calibration_figure)]
    return html_pages.page(
        "How good the model is",
        lead,
        html_pages.section(
            "By class", html_pages.table(["class", "precision", "recall", "F1", "recall, 95 %", "images"], by_class)
        ),
        html_pages.section("By kind of image", html_pages.table(["slice", "images", "accuracy", "95 %"], slices)),
        html_pages.section("Charts", html_pages.grid(charts)),
        html_pages.section("The worst mistakes", mistakes_grid(evaluation.predictions, read_image)),
    )


def mistakes_report(evaluation: Evaluation, read_image: ImageReader) -> str:
    """The worst mistakes as a page of their own."""
    wrong = int((~evaluation.predictions["right"]).sum())
    return html_pages.page(
        "The worst mistakes",
        f"{wrong} of {len(evaluation.predictions)} predictions are wrong.",
        mistakes_grid(evaluation.predictions, read_image),
    )


def mistakes_grid(predictions: pd.DataFrame, read_image: ImageReader) -> str:
    """Wrong predictions, the most confident first."""
    wrong = predictions[~predictions["right"]].sort_values("confidence", ascending=False)
    if wrong.empty:
        return "<p>None.</p>"
    return html_pages.grid(
        html_pages.image(read_image(row.sha256), f"{row.path}: '{row.predicted}' ({row.confidence:.0%}), is '{row.label}'")
        for row in wrong.head(MAX_MISTAKES).itertuples()
    )


def verdict_report(verdict: GateVerdict) -> str:
    rows = [(check.name, check.got, check.expected, "passed" if check.passed else "FAILED") for check in verdict.checks]
    return html_pages.page("Gates", verdict.sentence(), html_pages.table(["gate", "found", "expected", ""], rows))


def label_issues_report(issues: pd.DataFrame, read_image: ImageReader) -> str:
    """The images with label issues, the likeliest first."""
    figures = [
        html_pages.image(
            read_image(row.sha256),
            f"{row.path}: labelled '{row.label}', rather '{row.suggested}' (probability of its label: {row.quality:.1%})",
        )
        for row in issues.head(60).itertuples()
    ]
    lead = f"{len(issues):,} labels are contradicted by models that have not seen them. The most likely issues come first."
    return html_pages.page("Label issues", lead, html_pages.grid(figures))
