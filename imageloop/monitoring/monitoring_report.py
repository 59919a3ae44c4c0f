"""The monitoring report: what changed, since when, by which feature groups, its cost, and the decision."""

from datetime import UTC, datetime

from imageloop import html_pages
from imageloop.monitoring.decisions import Verdict
from imageloop.monitoring.measurement import Measurement
from imageloop.monitoring.model_performance import ModelPerformance
from imageloop.monitoring.windows import Window, drifting_since

UNITS = {
    "brightness": "of 255",
    "contrast": "of 255",
    "sharpness": "",
    "saturation": "of 1",
    "size": "megapixels",
    "predictions": "confidence",
}
MAX_WINDOWS = 12


def monitoring_report(measurement: Measurement) -> str:
    """An HTML page of the newest windows and labels."""
    return html_pages.page("Monitoring report", _lead(measurement), *_parts(measurement))


def verdict_report(verdict: Verdict) -> str:
    rows = [
        (name, "" if value is None else value if isinstance(value, (int, float)) else str(value))
        for name, value in verdict.metrics.items()
    ]
    table = html_pages.table(["metric", "value"], [("reason", verdict.reason), *rows])
    return html_pages.page(f"Decision: {verdict.action}", verdict.explanation or verdict.reason, table)


def _lead(measurement: Measurement) -> str:
    windows = measurement.windows
    if not windows:
        return "There is no whole window of predictions yet."
    newest = windows[-1]
    since = drifting_since(windows)
    changed = (
        f"The images drifted{f', since {_time(since)}' if since else ''}: {newest.feature_groups[0].name} first (p = {newest.p_value:.3f})."
        if newest.alarm
        else f"No drift that {_extent(newest)} could show (p = {newest.p_value:.2f})."
    )
    cost = (
        f" Without labels accuracy is estimated at {newest.estimated_accuracy:.1%}{newest.estimated_interval}; "
        f"on images as usual it is {newest.reference_accuracy:.1%}."
        if newest.has_estimate
        else " Without labels there is no estimate of accuracy: the images are too unlike the known ones. Label some of them."
    )
    performance = measurement.performance
    known = (
        f" With {performance.count} labels, one a scene, it is {performance.accuracy:.1%} ({performance.low:.1%} to {performance.high:.1%})."
        if performance.accuracy is not None
        else f" There are {performance.count} labels, one a scene: too few for an estimate."
    )
    return changed + cost + known + (f" But: {performance.bias}." if performance.bias else "")


def _parts(measurement: Measurement) -> list[str]:
    windows = measurement.windows
    parts = [*_newest_window(windows[-1]), _history(windows[-MAX_WINDOWS:])] if windows else []
    return parts + ([_accuracy(measurement.performance)] if measurement.performance.parts else [])


def drift_sections(newest: Window) -> list[str]:
    """HTML sections: the feature groups of a window, and how their values lie beside those of the reference."""
    rows = [
        (group.name, group.p_value, _value(group.before), _value(group.after), UNITS.get(group.name, ""))
        for group in newest.feature_groups
    ]
    groups = html_pages.table(["group", "p", "before", "now", ""], rows)
    charts = [
        html_pages.histogram(f"{name} {UNITS.get(name, '')}".strip(), one.edges, one.before, one.after)
        for name, one in newest.histograms.items()
    ]
    return [
        html_pages.section("Feature groups, the most significant first", groups),
        *([html_pages.section("Before (grey) and now (blue)", html_pages.grid(charts))] if charts else []),
    ]


def _newest_window(newest: Window) -> list[str]:
    share = f"<p>{newest.out_of_distribution_share:.1%} of the images; 1 % is usual.</p>"
    farthest = html_pages.table(
        ["request", "predicted", "distance"], [(one.request_id, one.label, one.novelty) for one in newest.unusual]
    )
    hint = "<p>The images farthest from the training data; where they were retained, <code>python run.py report RUN</code> shows them.</p>"
    return [
        *drift_sections(newest),
        html_pages.section("Out of distribution", share, *([hint, farthest] if newest.unusual else [])),
    ]


def _history(windows: list[Window]) -> str:
    rows = [
        (
            _time(w.end),
            w.version,
            w.count,
            w.num_scenes or "",
            w.p_value,
            "drift" if w.alarm else "",
            w.estimated_accuracy,
            w.out_of_distribution_share,
        )
        for w in windows
    ]
    header = ["until", "version", "predictions", "scenes", "p", "", "estimated accuracy", "out of distribution"]
    return html_pages.section("Windows", html_pages.table(header, rows))


def _accuracy(performance: ModelPerformance) -> str:
    rows = [
        (
            part.kind.replace("_", " "),
            _time(float(part.name)) if part.kind == "until" else part.name,
            part.count,
            part.accuracy,
            part.low,
            part.high,
        )
        for part in performance.parts
    ]
    return html_pages.section("Accuracy by labels", html_pages.table(["part", "", "labels", "accuracy", "from", "to"], rows))


def _extent(window: Window) -> str:
    scenes = window.num_scenes
    return f"{window.count} predictions" + ("" if scenes in (None, window.count) else f" of {scenes} scene{'s' * (scenes != 1)}")


def _value(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
