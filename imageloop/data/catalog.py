"""The catalog: one row for each file of the source, accepted or quarantined with a reason."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import pandas as pd

from imageloop.data.array_store import ArrayStore
from imageloop.data.catalog_schema import check_catalog
from imageloop.data.image_checks import Container, check_pixels
from imageloop.data.ingestion import decode_new, in_threads, sha256_of
from imageloop.data.settings import Limits
from imageloop.data.sources.class_folders import RETAINED_FOLDER
from imageloop.data.sources.folder import FoundFile, list_files, read_class_folders
from imageloop.errors import ImageLoopError, ImageRefusedError
from imageloop.progress import track

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Row:
    file: FoundFile
    sha256: str | None


def read_catalog(folder: Path, source: str, store: ArrayStore, side: int, limits: Limits) -> pd.DataFrame:
    """Read every file below `folder`; new images are decoded into `store`, known ones are not.

    Shapes: one row a file in the order of the paths; columns as in `schema.CATALOG`, without groups and splits yet.
    Raises: ImageLoopError if there is no file at all.
    """
    classes = read_class_folders(folder)
    files = list(list_files(folder, classes))
    if not files:
        raise ImageLoopError(f"expected images, got no file below '{folder}'; point data.source at a folder that holds some")
    for notice in classes.notices():
        logger.warning("%s", notice)
    hashes = list(track(in_threads(lambda file: sha256_of(file.path), files), "read", len(files)))
    rows = [_Row(file, sha256) for file, sha256 in zip(files, hashes, strict=True)]
    refused = decode_new(  # the paths are kept no longer than this: there may be millions
        {row.sha256: row.file.path for row in rows if row.sha256 and row.file.label and row.file.has_portable_name},
        store,
        side,
        limits,
    )
    now = pd.Timestamp(datetime.now(UTC)).floor("s").as_unit("ns")
    catalog = _quarantine_contradictions(_table(_describe(row, store, refused, limits) for row in rows), store)
    sources = [RETAINED_FOLDER if PurePosixPath(path).parent.name == RETAINED_FOLDER else source for path in catalog["path"]]
    return check_catalog(catalog.assign(group=_own_group, split="", source=sources, added_at=now)[_COLUMNS])


def _table(rows: Iterable[dict[str, object]]) -> pd.DataFrame:
    """Rows as columns, a row in memory at a time: as dictionaries those of many files would take more than all else."""
    columns: dict[str, list[object]] = {}
    for row in rows:
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    return pd.DataFrame(columns)


_COLUMNS = [
    "path", "label", "width", "height", "size_bytes", "format", "sha256", "perceptual_hash",
    "group", "split", "status", "reason", "source", "added_at",
]  # fmt: skip


def _quarantine_contradictions(catalog: pd.DataFrame, store: ArrayStore) -> pd.DataFrame:
    """Quarantine equal images that are in two classes, in both: their label is unknown.

    Equal are those with the same prepared pixels. Near duplicates are none: parts of two kinds may differ in a scratch.
    """
    images = catalog[catalog["status"] == "accepted"]
    pixels = pd.Series({row: store.checksum(sha256) for row, sha256 in images["sha256"].items()}, dtype=object)
    reasons = {}
    for _, alike in images.groupby([images["perceptual_hash"], pixels.reindex(images.index)]):
        if alike["label"].nunique() > 1:
            for row in alike.itertuples():
                other = alike[alike["label"] != row.label].iloc[0]
                reasons[row.Index] = f"two_classes: shows the same as '{other['path']}' of class '{other['label']}'"
    if reasons:
        logger.warning("quarantined %d images that are in two classes", len(reasons))
    return quarantine(catalog, reasons) if reasons else catalog


def _own_group(catalog: pd.DataFrame) -> pd.Series:
    """An accepted image is its own group until duplicates are searched for."""
    return catalog["sha256"].str[:16].where(catalog["status"] == "accepted", "")


def _describe(row: _Row, store: ArrayStore, refused: dict[str, ImageRefusedError], limits: Limits) -> dict[str, object]:
    reason = _reason(row, store, refused, limits)
    known = row.sha256 in store if row.sha256 else False
    facts = store.attributes(row.sha256) if known and row.sha256 else {}
    return {
        "path": row.file.name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace"),
        "label": row.file.label or "" if row.file.has_portable_name else "",
        "width": facts.get("width", 0),
        "height": facts.get("height", 0),
        "size_bytes": row.file.path.stat().st_size,
        "format": facts.get("format", ""),
        "sha256": row.sha256 or "",
        "perceptual_hash": f"{facts['perceptual_hash']:016x}" if facts else "",
        "status": "quarantined" if reason else "accepted",
        "reason": reason,
    }


def _reason(row: _Row, store: ArrayStore, refused: dict[str, ImageRefusedError], limits: Limits) -> str:
    if not row.file.has_portable_name:
        return "name_not_utf8: rename the file"
    if row.sha256 is None:
        return "unreadable: no permission, or the disk fails"
    if row.file.label is None:
        return "no_label: lies in no class folder"
    if row.sha256 in refused:
        return str(refused[row.sha256])
    return _beyond_limits(row.file, store.attributes(row.sha256), limits)


def _beyond_limits(file: FoundFile, facts: dict[str, int], limits: Limits) -> str:
    """Check today's limits against the stored header of an image that was decoded earlier."""
    try:
        check_pixels(Container(facts["width"], facts["height"], str(facts["format"])), limits)
    except ImageRefusedError as error:
        return str(error)
    if file.path.stat().st_size > limits.max_bytes:
        return f"too_large: {limits.max_bytes} bytes allowed"
    return ""


def quarantine(catalog: pd.DataFrame, reasons: dict[int, str]) -> pd.DataFrame:
    """A catalog in which the rows `reasons` (by index) are quarantined with that reason."""
    catalog = catalog.copy()
    index = list(reasons)
    catalog.loc[index, "status"] = "quarantined"
    catalog.loc[index, "reason"] = pd.Series(reasons)
    catalog.loc[index, [name for name in ("group", "split") if name in catalog]] = ""
    return catalog
