"""The data report: the catalog as an HTML page, to be read before the data are trusted."""

import html
import logging
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from imageloop import html_pages
from imageloop.atomic_files import replacing
from imageloop.data.catalog_schema import SPLITS, accepted, content_hash
from imageloop.data.preprocessing import UInt8Array

logger = logging.getLogger(__name__)
ImageReader = Callable[[str], UInt8Array]  # from a SHA-256 to the prepared image (S, S, 3)
MAX_PER_CLASS = 8
MAX_GROUPS = 20
MAX_QUARANTINED = 200


def list_quarantined(catalog: pd.DataFrame, file: Path) -> None:
    """Write every quarantined file with its reason to a CSV file, also for a run that ends because of them; remove the list where there are none."""
    bad = catalog.loc[catalog["status"] == "quarantined", ["path", "label", "reason"]]
    if bad.empty:
        file.unlink(missing_ok=True)
        return
    with replacing(file) as aside:
        bad.to_csv(aside, index=False)
    logger.warning("%d of %d files are not used; each with its reason: '%s'", len(bad), len(catalog), file)


def data_report(catalog: pd.DataFrame, read_image: ImageReader) -> str:
    """An HTML page: counts, sizes, samples, duplicates side by side, and what was quarantined and why."""
    good, bad = accepted(catalog), catalog[catalog["status"] == "quarantined"]
    lead = f"{len(good):,} images in {good['label'].nunique()} classes, {len(bad):,} quarantined. Data version {content_hash(catalog)}."
    return html_pages.page(
        "The images",
        lead,
        html_pages.section("How many", _counts(good)),
        html_pages.section("How large", _sizes(good)),
        html_pages.section("Samples of each class", *_samples(good, read_image)),
        html_pages.section("Near duplicates", _groups(good, read_image)),
        html_pages.section("Quarantined files", _quarantined(bad, read_image)),
    )


def _counts(good: pd.DataFrame) -> str:
    splits = [split for split in SPLITS if (good["split"] == split).any()]
    rows: list[tuple[html_pages.Cell, ...]] = [
        (str(label), *(int((rows["split"] == split).sum()) for split in splits), len(rows))
        for label, rows in good.groupby("label")
    ]
    totals: tuple[html_pages.Cell, ...] = ("together", *(int((good["split"] == split).sum()) for split in splits), len(good))
    return html_pages.table(["class", *splits, "together"], [*rows, totals])


def _sizes(good: pd.DataFrame) -> str:
    if good.empty:
        return ""
    rows = []
    for name, unit in (("width", "pixels"), ("height", "pixels"), ("size_bytes", "bytes")):
        values = good[name].quantile([0, 0.25, 0.5, 0.75, 1]).astype(int)
        rows.append((f"{name.removesuffix('_bytes')} ({unit})", *values.tolist()))
    formats = ", ".join(f"{count:,} {name}" for name, count in good["format"].value_counts().items())
    return html_pages.table(["", "least", "25 %", "half", "75 %", "most"], rows) + f"<p>{formats}</p>"


def _samples(good: pd.DataFrame, read_image: ImageReader) -> list[str]:
    parts = []
    for label, rows in good.groupby("label"):
        chosen = rows.sort_values("sha256").head(MAX_PER_CLASS)
        parts.append(f"<h3>{html.escape(str(label))}</h3>")
        parts.append(html_pages.grid(html_pages.image(read_image(row.sha256), row.path) for row in chosen.itertuples()))
    return parts


def _groups(good: pd.DataFrame, read_image: ImageReader) -> str:
    shared = good[good["group"].duplicated(keep=False)]
    if shared.empty:
        return "<p>No two images show the same.</p>"
    groups = list(shared.groupby("group"))
    parts = [f"<p>{len(groups):,} groups, {len(shared):,} images; each group is in one split.</p>"]
    for _, rows in groups[:MAX_GROUPS]:
        figures = [
            html_pages.image(read_image(row.sha256), f"{row.path} ({row.split or 'no split yet'})")
            for row in rows.head(6).itertuples()
        ]
        parts.append(f"<div class='grid group'>{''.join(figures)}</div>")
    return "".join(parts)


def _quarantined(bad: pd.DataFrame, read_image: ImageReader) -> str:
    if bad.empty:
        return "<p>Nothing: every file is a usable image.</p>"
    kinds = bad["reason"].str.split(":").str[0].value_counts()
    summary = html_pages.table(["reason", "files"], [(str(kind), int(count)) for kind, count in kinds.items()])
    decoded = bad[bad["width"] > 0].head(24)
    figures = html_pages.grid(
        html_pages.image(read_image(row.sha256), f"{row.path}: {row.reason}") for row in decoded.itertuples()
    )
    rows = [(row.path, row.reason) for row in bad.head(MAX_QUARANTINED).itertuples()]
    more = f"<p>and {len(bad) - MAX_QUARANTINED:,} more</p>" if len(bad) > MAX_QUARANTINED else ""
    return summary + figures + html_pages.table(["file", "reason"], rows) + more
