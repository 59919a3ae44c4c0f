"""What a person reads in a minute: what changed, since when, what says so, what it costs, what was decided."""

from datetime import UTC, datetime

from imageloop import html_pages
from imageloop.monitoring.decisions import Verdict
from imageloop.monitoring.measurement import Measurement
from imageloop.monitoring.windows import Window, drifting_since

UNITS = {
    "brightness": "of 255",
    "contrast": "of 255",
    "sharpness": "",
    "saturation": "of 1",
    "size": "megapixels",
    "answers": "confidence",
}
MAX_WINDOWS = 12


def monitoring_report(measurement: Measurement) -> str:
    """An HTML page of the newest windows and labels."""
    return html_pages.page("Has the world changed?", _lead(measurement), *_parts(measurement))


def verdict_report(verdict: Verdict) -> str:
    rows = [
        (name, "" if value is None else value if isinstance(value, (int, float)) else str(value))
        for name, value in verdict.figures.items()
    ]
    return html_pages.page(f"Decision: {verdict.action}", verdict.reason, html_pages.table(["figure", "value"], rows))


def _lead(measurement: Measurement) -> str:
    windows = measurement.windows
    if not windows:
        return "There is no whole window of answers yet."
    newest = windows[-1]
    since = drifting_since(windows)
    changed = (
        f"Something changed{f', since {_time(since)}' if since else ''}: {newest.levels[0].name} first (p = {newest.p_value:.3f})."
        if newest.alarm
        else f"Nothing has changed that {_extent(newest)} could show (p = {newest.p_value:.2f})."
    )
    cost = f" Without labels accuracy is estimated at {newest.estimated_accuracy:.1%}; before it was {newest.reference_accuracy:.1%}."
    truth = measurement.truth
    known = (
        f" With {truth.count} labels, one a scene, it is {truth.accuracy:.1%} ({truth.low:.1%} to {truth.high:.1%})."
        if truth.accuracy is not None
        else f" There are {truth.count} labels, one a scene: too few to tell."
    )
    return changed + cost + known + (f" But: {truth.bias}." if truth.bias else "")


def _parts(measurement: Measurement) -> list[str]:
    parts = []
    if measurement.windows:
        newest = measurement.windows[-1]
        rows = [
            (level.name, level.p_value, _value(level.before), _value(level.after), UNITS.get(level.name, ""))
            for level in newest.levels
        ]
        parts.append(
            html_pages.section("What says so, the likeliest first", html_pages.table(["level", "p", "before", "now", ""], rows))
        )
        parts.append(
            html_pages.section("Unlike anything known", f"<p>{newest.unfamiliar_share:.1%} of the pictures; 1 % is usual.</p>")
        )
        history = [
            (
                _time(w.end),
                w.version,
                w.count,
                w.num_scenes or "",
                w.p_value,
                "drift" if w.alarm else "",
                w.estimated_accuracy,
                w.unfamiliar_share,
            )
            for w in measurement.windows[-MAX_WINDOWS:]
        ]
        header = ["until", "version", "answers", "scenes", "p", "", "estimated accuracy", "unfamiliar"]
        parts.append(html_pages.section("Windows", html_pages.table(header, history)))
    if measurement.truth.parts:
        found = [
            (
                part.kind.replace("_", " "),
                _time(float(part.name)) if part.kind == "until" else part.name,
                part.count,
                part.accuracy,
                part.low,
                part.high,
            )
            for part in measurement.truth.parts
        ]
        parts.append(
            html_pages.section("Accuracy by labels", html_pages.table(["part", "", "labels", "accuracy", "from", "to"], found))
        )
    return parts


def _extent(window: Window) -> str:
    scenes = window.num_scenes
    return f"{window.count} answers" + ("" if scenes in (None, window.count) else f" of {scenes} scene{'s' * (scenes != 1)}")


def _value(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
