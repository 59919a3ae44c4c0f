"""The folder `raw` of a data set: a copy of the raw images, which DVC tracks. Files of others in it are moved aside, never deleted."""

import hashlib
import json
import logging
import os
import shutil
import time
from pathlib import Path
from typing import Any

from imageloop.atomic_files import replacing
from imageloop.data.settings import DataSettings, FolderSource
from imageloop.data.sources import folder as folders
from imageloop.data.sources.class_folders import RETAINED_FOLDER
from imageloop.errors import ImageLoopError
from imageloop.progress import track
from imageloop.workspace_paths import Workspace

logger = logging.getLogger(__name__)


def held_source(workspace: Workspace) -> str:
    """The fingerprint of the source that `data/raw` was filled from; empty if it was not filled, or not completely."""
    return str(_manifest(workspace).get("source") or "") if (workspace.data / "raw").is_dir() else ""


def is_placed(settings: DataSettings, workspace: Workspace) -> bool:
    """Whether the images of a folder are copied to `data/raw`; they are read where they lie otherwise."""
    inside = isinstance(settings.source, FolderSource) and _lies_in(settings.source.path, workspace.all_data)
    return settings.versioning.enabled and not inside


def _lies_in(folder: Path, other: Path) -> bool:
    return folder.resolve().is_relative_to(other.resolve())


def place(folder: Path, workspace: Workspace, source: str = "", retained: Path | None = None) -> Path:
    """Return `folder` if it lies in `data/` already, else copy its files to `data/raw`.

    `source` is remembered for `held_source`; `retained` holds labelled images that the service retained.
    A file that ImageLoop did not put into `data/raw` is moved to `.imageloop/kept`, never deleted.
    """
    if _lies_in(folder, workspace.all_data):
        if retained is not None:
            raise ImageLoopError(
                f"expected a source outside '{workspace.all_data}' to add retained images to, got '{folder}'; move them there"
            )
        return folder
    if _lies_in(workspace.home, folder):
        raise ImageLoopError(f"'{folder}' holds this project itself; name a folder that holds images alone")
    raw = workspace.data / "raw"
    _keep_what_is_not_ours(raw, workspace)
    _write_manifest(workspace, None, "")
    if folder.is_relative_to(workspace.downloads):
        _take_over(folder, raw)
    else:
        _mirror(folder, raw)
    if retained is not None:
        _add_retained(retained, raw)
    _write_manifest(workspace, _listing(raw), source)
    return raw


def _take_over(folder: Path, raw: Path) -> None:
    with replacing(raw) as aside:
        shutil.move(folder, aside)


def _mirror(folder: Path, raw: Path) -> None:
    """Copy what is new or changed, remove what is gone. Copies, not links: DVC may make its files read-only."""
    found = list(folders.list_files(folder))
    files = {file.name: file.path for file in found if file.has_portable_name}
    if left_out := [file.name for file in found if not file.has_portable_name]:
        logger.warning("%d files are left out, for their names are not UTF-8, as %r; rename them", len(left_out), left_out[0])
    present = {path.relative_to(raw).as_posix(): path for path in raw.rglob("*") if path.is_file() or path.is_symlink()}
    for name in present.keys() - files.keys():
        present[name].unlink()
    new = [name for name, path in files.items() if not _is_copied(path, raw / name)]
    for name in track(new, "copy", len(new)):
        _copy(files[name], raw / name)
    logger.info(
        "copied %d files to %s, %d were there, %d of another source removed",
        len(new),
        raw,
        len(files) - len(new),
        len(present.keys() - files.keys()),
    )


def _add_retained(retained: Path, raw: Path) -> None:
    """Copy retained images into a sub-folder of their class, by which the catalog recognises them."""
    root = folders.unwrap(raw)
    for file in folders.list_files(retained):
        if file.label is not None and file.has_portable_name:
            _copy(file.path, root / file.label / RETAINED_FOLDER / file.path.name)


def _is_copied(source: Path, target: Path) -> bool:
    try:
        have, want = target.stat(), source.stat()
    except OSError:
        return False
    return (have.st_size, have.st_mtime_ns) == (want.st_size, want.st_mtime_ns)


def _copy(source: Path, target: Path) -> None:
    if target.is_dir() or target.parent.is_file():
        raise ImageLoopError(f"'{source}' is a file where there was a folder before; move '{target}' away")
    with replacing(target) as aside:
        try:
            shutil.copyfile(source, aside)
        except PermissionError:
            logger.warning("'%s' cannot be read, permission is missing: an empty file takes its place and is quarantined", source)
            aside.touch()  # DVC has to read what it tracks
            return
        status = source.stat()
        os.utime(aside, ns=(status.st_atime_ns, status.st_mtime_ns))


def _keep_what_is_not_ours(raw: Path, workspace: Workspace) -> None:
    if not raw.exists() or not any(raw.iterdir()):
        return
    known = _manifest(workspace).get("listing", "never filled")
    if known in (None, _listing(raw)):  # None: a run was ended while it filled the folder
        return
    kept = workspace.state / "kept" / time.strftime("raw-%Y%m%d-%H%M%S")
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(raw, kept)
    logger.warning(
        "%s had files that did not come from the last source; they were moved to %s", raw.relative_to(workspace.home), kept
    )


def _manifest(workspace: Workspace) -> dict[str, Any]:
    """The manifest of `data/raw`; empty if it is missing or damaged: then its files count as files of others."""
    file = _manifest_file(workspace)
    try:
        known = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        logger.warning("'%s' cannot be read (%s) and is made again", file, error)
        return {}
    return known if isinstance(known, dict) else {}


def _manifest_file(workspace: Workspace) -> Path:
    return workspace.state / (f"raw-{workspace.data_set}.json" if workspace.data_set else "raw.json")


def _write_manifest(workspace: Workspace, listing: str | None, source: str) -> None:
    with replacing(_manifest_file(workspace)) as aside:
        aside.write_text(json.dumps({"listing": listing, "source": source}))


def _listing(raw: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(raw.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(raw)}\0{path.stat().st_size}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()
