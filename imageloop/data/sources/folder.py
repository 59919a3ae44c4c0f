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
KEPT_FOLDER = "kept_by_service"  # within a class folder: pictures that the service was asked about
SHAPE = "one folder a class with its pictures in it, or names like cat.12.jpg"


@dataclass(frozen=True)
class FoundFile:
    """A file below a source's folder: `name` is relative and POSIX, `label` None where nothing tells the class."""

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

    Raises: SettingsError for a folder that cannot be read; such a folder stands for its files where `also_unreadable`.
    """
    return _walk(folder, frozenset(), also_unreadable=also_unreadable)


def label_of(name: str, *, has_splits: bool = True) -> str | None:
    """The class that a relative POSIX name tells: its first folder that is not a split's, or Kaggle's prefix."""
    *folders, file = PurePosixPath(name).parts
    while has_splits and folders and SPLIT_FOLDER.match(folders[0]):
        folders.pop(0)
    if folders:
        return folders[0]
    match = KAGGLE_NAME.match(file)
    return match["label"] if match else None


def _has_splits(root: Path) -> bool:
    """Whether a folder `train` is the data set's split: it may be a class of vehicles, too, with its pictures right in it."""
    entries = _entries(root)
    splits = [entry for entry in entries if SPLIT_FOLDER.match(entry.name) and entry.is_dir()]
    if not splits or any(entry.is_dir() or KAGGLE_NAME.match(entry.name) for split in splits for entry in _entries(split)):
        return True
    return not any(entry.is_dir() for entry in entries if entry not in splits)


def unwrap(folder: Path) -> Path:
    """Go down while there is but one folder that itself holds folders, as archives often have it; a README may lie beside it.

    What is no folder is given back.
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
    """A cheap hash of names, sizes and times: another one whenever a file came, went or changed."""
    digest = hashlib.sha256()
    for file in list_files(folder):
        status = file.path.stat()
        digest.update(f"{file.name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def check_folder(folder: Path, key: str) -> None:
    """Refuse at once what cannot become a classifier; looks no further than needed.

    Raises: SettingsError that names `key`.
    """
    if not folder.exists():
        raise SettingsError(f"{key}: wanted a folder of pictures, found nothing at '{folder}'; check the path")
    if not folder.is_dir():
        raise SettingsError(f"{key}: wanted a folder, found a file at '{folder}'; name the folder that holds the class folders")
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
        raise SettingsError(f"{key}: wanted {SHAPE}, found no such file below '{folder}'; sort the pictures into class folders")
    raise SettingsError(
        f"{key}: wanted two classes or more, found one ('{next(iter(labels))}') below '{folder}'; "
        "name the folder above it, or add a folder with pictures of what is not one"
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
    return SettingsError(f"wanted to read the folder '{folder}', found no permission; grant it or move it away")
