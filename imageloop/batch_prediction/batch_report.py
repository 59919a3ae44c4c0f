"""The page of a batch prediction: counts, confidence, refused files, drift, and examples."""

from collections.abc import Sequence

from imageloop import html_pages
from imageloop.batch_prediction.input_images import read_content
from imageloop.batch_prediction.summary import BatchSummary, ExampleImage
from imageloop.data.preprocessing import UInt8Array, preprocess
from imageloop.model.predictor import SERVED
from imageloop.monitoring.monitoring_report import drift_sections

SIDE = 224


def batch_report(summary: BatchSummary) -> str:
    """An HTML page. Examples are read again from where they are; one that is gone is a grey square."""
    predicted = summary.num_images - summary.num_refused
    by_class = [(name, count, count / predicted) for name, count in sorted(summary.labels.items(), key=lambda one: -one[1])]
    tenths = len(summary.confidence)
    confidence = [
        (f"{place / tenths:.0%} to {(place + 1) / tenths:.0%}", count) for place, count in enumerate(summary.confidence)
    ]
    parts = [html_pages.section("Images by class", html_pages.table(["class", "images", "share"], by_class))] if predicted else []
    if predicted:
        parts.append(html_pages.section("Images by confidence", html_pages.table(["probability", "images"], confidence)))
    if summary.refused:
        rows = list(summary.refused.items())
        parts.append(html_pages.section("Refused files", html_pages.table(["reason", "files"], rows)))
    if summary.window is not None:
        parts += drift_sections(summary.window)
    parts += _gallery("Least confident", summary.least_confident) + _gallery(
        "Farthest from the training data", summary.most_unusual
    )
    return html_pages.page(f"Batch prediction by {summary.model_name} {summary.model_version}", lead(summary), *parts)


def lead(summary: BatchSummary) -> str:
    """The whole in a few sentences."""
    text = f"{summary.num_images - summary.num_refused:,} of {summary.num_images:,} images were predicted, {summary.num_refused:,} refused."
    if summary.out_of_distribution is not None:
        text += f" {summary.out_of_distribution:,} are out of distribution."
    window = summary.window
    if window is None:
        return f"{text} Too few images were sampled to compare them with the training data."
    text += (
        f" The images differ from the training data: {window.feature_groups[0].name} first (p = {window.p_value:.3f})."
        if window.alarm
        else f" {window.count} sampled images show no drift from the training data (p = {window.p_value:.2f})."
    )
    if not window.has_estimate:
        return f"{text} There is no estimate of accuracy: the images are too unlike the known ones. Label some of them."
    return f"{text} Accuracy is estimated at {window.estimated_accuracy:.1%}{window.estimated_interval}, without labels."


def _gallery(title: str, examples: Sequence[ExampleImage]) -> list[str]:
    figures = [
        html_pages.image(_pixels(one.path), f"{one.label} {one.probability:.0%}: {one.path.rpartition('/')[2]}")
        for one in examples
    ]
    return [html_pages.section(title, html_pages.grid(figures))] if figures else []


def _pixels(path: str) -> UInt8Array:
    try:
        return preprocess(read_content(path, SERVED.max_bytes), SIDE, SERVED)
    except Exception:  # gone since, or another storage's error: no report is worth one
        return html_pages.blank(SIDE)
