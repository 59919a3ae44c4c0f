"""Which files a folder holds and what class each shows: one folder a class, or Kaggle's `cat.12.jpg` names."""

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from imageloop.errors import SettingsError

KAGGLE_NAME = re.compile(r"^(?P<label>[^\W\d][\w -]*)\.\d+\.\w+$")
SPLIT_FOLDER = re.compile(r"^(train(ing)?|val(id(ation)?)?|test(ing)?)\d*$", re.IGNORECASE)
RETAINED_FOLDER = "kept_by_service"  # within a class folder: images that the service retained
SHAPE = "one folder a class with its images in it, or names like cat.12.jpg"


@dataclass(frozen=True)
class FoundFile:
    """A file below a source's folder: `name` is relative and POSIX, `label` is None where the class is unknown."""

    path: Path
    name: str
    label: str | None

    @property
    def has_portable_name(self) -> bool:
        """Names that are not UTF-8 can be neither written to a table nor copied to another system."""
        return not any("\ud800" <= character <= "\udfff" for character in self.name)


def list_files(folder: Path) -> Iterator[FoundFile]:
    """Every visible file below `folder`, links followed, loops not, each folder in the order of its names.

    Raises: SettingsError for a folder that cannot be read.
    """
    root = unwrap(folder)
    has_splits = _has_splits(root)
    for path in every_file(root):
        name = path.relative_to(root).as_posix()
        yield FoundFile(path, name, label_of(name, has_splits=has_splits))


def every_file(folder: Path, *, also_unreadable: bool = False) -> Iterator[Path]:
    """Every visible file below `folder`, whatever its class.

    Raises: SettingsError for a folder that cannot be read; with `also_unreadable`, such a folder is listed in place of its files.
    """
    return _walk(folder, frozenset(), also_unreadable=also_unreadable)


def label_of(name: str, *, has_splits: bool = True) -> str | None:
    """The class by a relative POSIX name: the first folder that is no split, or Kaggle's prefix."""
    *folders, file = PurePosixPath(name).parts
    while has_splits and folders and SPLIT_FOLDER.match(folders[0]):
        folders.pop(0)
    if folders:
        return folders[0]
    match = KAGGLE_NAME.match(file)
    return match["label"] if match else None


def _has_splits(root: Path) -> bool:
    """Whether a folder `train` is the data set's split: it may be a class of vehicles, too, with its images right in it."""
    entries = _entries(root)
    splits = [entry for entry in entries if SPLIT_FOLDER.match(entry.name) and entry.is_dir()]
    if not splits or any(entry.is_dir() or KAGGLE_NAME.match(entry.name) for split in splits for entry in _entries(split)):
        return True
    return not any(entry.is_dir() for entry in entries if entry not in splits)


def unwrap(folder: Path) -> Path:
    """Descend while there is only one folder that itself has folders, as archives often do; a README may lie beside it.

    A path that is no folder is returned unchanged.
    """
    if not folder.is_dir():
        return folder
    seen = {folder.resolve()}
    while True:
        entries = _entries(folder)
        if any(KAGGLE_NAME.match(entry.name) for entry in entries):
            return folder
        inside = [entry for entry in entries if entry.is_dir()]
        if len(inside) != 1 or inside[0].resolve() in seen:
            return folder
        if not any(entry.is_dir() or KAGGLE_NAME.match(entry.name) for entry in _entries(inside[0])):
            return folder
        folder = inside[0]
        seen.add(folder.resolve())


def fingerprint(folder: Path) -> str:
    """A cheap hash of names, sizes and times: it changes whenever a file is added, removed or changed."""
    digest = hashlib.sha256()
    for file in list_files(folder):
        status = file.path.stat()
        digest.update(f"{file.name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def check_folder(folder: Path, key: str) -> None:
    """Refuse at once a folder that no classifier can be trained on; reads no more than needed.

    Raises: SettingsError that names `key`.
    """
    if not folder.exists():
        raise SettingsError(f"{key}: expected a folder of images, got nothing at '{folder}'; check the path")
    if not folder.is_dir():
        raise SettingsError(f"{key}: expected a folder, got a file at '{folder}'; name the folder that holds the class folders")
    for entry in _entries(unwrap(folder)):
        if entry.is_dir() and not _may_be_read(entry):
            raise _no_permission(entry)
    labels: dict[str, int] = {}
    for file in list_files(folder):
        if file.label is not None:
            labels[file.label] = labels.get(file.label, 0) + 1
        if len(labels) > 1:
            return
    if not labels:
        raise SettingsError(f"{key}: expected {SHAPE}, got no such file below '{folder}'; sort the images into class folders")
    raise SettingsError(
        f"{key}: expected two classes or more, got one ('{next(iter(labels))}') below '{folder}'; "
        "name the folder above it, or add a folder with images of what is not one"
    )


def _walk(folder: Path, seen: frozenset[Path], *, also_unreadable: bool) -> Iterator[Path]:
    real = folder.resolve()
    if real in seen:
        return
    if also_unreadable and not _may_be_read(folder):
        yield folder
        return
    for entry in _entries(folder):
        if entry.is_dir():
            yield from _walk(entry, seen | {real}, also_unreadable=also_unreadable)
        elif entry.is_file():
            yield entry


def _entries(folder: Path) -> list[Path]:
    """Visible entries in the order of their names; a link that leads in a circle is none."""
    try:
        with os.scandir(folder) as entries:
            visible = sorted(entry.name for entry in entries if not entry.name.startswith((".", "__MACOSX")))
    except PermissionError as error:
        raise _no_permission(folder) from error
    return [folder / name for name in visible]


def _may_be_read(folder: Path) -> bool:
    return os.access(folder, os.R_OK | os.X_OK)


def _no_permission(folder: Path) -> SettingsError:
    return SettingsError(f"expected to read the folder '{folder}', got no permission; grant it or move it away")
