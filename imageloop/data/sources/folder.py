"""Which files a folder holds and what class each shows: one folder a class, or Kaggle's `cat.12.jpg` names."""

import difflib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from imageloop.data.sources.class_folders import KAGGLE_NAME, ClassFolders, no_permission
from imageloop.errors import SettingsError

SHAPE = "one folder a class with its images in it, or names like cat.12.jpg"


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file below a source's folder `root`: `name` is relative and POSIX, `label` is None where the class is unknown."""

    root: Path
    name: str
    label: str | None

    @property
    def path(self) -> Path:
        return self.root / self.name

    @property
    def has_portable_name(self) -> bool:
        """Names that are not UTF-8 can be neither written to a table nor copied to another system."""
        return not any("\ud800" <= character <= "\udfff" for character in self.name)


def read_class_folders(folder: Path) -> ClassFolders:
    """The class folders below `folder`, whatever folders are around them.

    Raises: SettingsError for a folder that cannot be read, or whose structure has two readings.
    """
    return ClassFolders(unwrap(folder))


def list_files(folder: Path, classes: ClassFolders | None = None) -> Iterator[FoundFile]:
    """Every visible file below `folder`, links followed, loops not, each folder in the order of its names.

    `classes`: the class folders of `folder`, where they were read already.
    Raises: SettingsError for a folder that cannot be read, or whose structure has two readings.
    """
    classes = classes or read_class_folders(folder)
    for path in every_file(classes.root):
        name = path.relative_to(classes.root).as_posix()
        yield FoundFile(classes.root, name, classes.label_of(name))


def every_file(folder: Path, *, also_unreadable: bool = False) -> Iterator[Path]:
    """Every visible file below `folder`, whatever its class.

    Raises: SettingsError for a folder that cannot be read; with `also_unreadable`, such a folder is listed in place of its files.
    """
    return _walk(folder, frozenset(), also_unreadable=also_unreadable)


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
        raise SettingsError(f"{key}: expected a folder of images or an archive, got nothing at '{folder}'; {_nearest(folder)}")
    if not folder.is_dir():
        raise SettingsError(f"{key}: expected a folder, got a file at '{folder}'; name the folder that holds the class folders")
    classes = read_class_folders(folder)
    _check_class_folders(classes, key)
    labels: dict[str, int] = {}
    for file in list_files(folder, classes):
        if file.label is not None:
            labels[file.label] = labels.get(file.label, 0) + 1
        if len(labels) > 1:
            return
    if not labels:
        raise SettingsError(f"{key}: expected {SHAPE}, got {_contents(folder)}; sort the images into class folders")
    raise SettingsError(
        f"{key}: expected two classes or more, got one ('{next(iter(labels))}') below '{folder}'; "
        "name the folder above it, or add a folder with images of what is not one"
    )


def _nearest(missing: Path) -> str:
    """What to do about a path that does not exist."""
    parent = next(parent for parent in missing.parents if parent.is_dir())
    names = [entry.name for entry in _entries(parent)] if _may_be_read(parent) else []
    alike = difflib.get_close_matches((missing.relative_to(parent).parts or ("",))[0], names, n=2)
    if alike:
        return f"did you mean {' or '.join(repr(str(parent / name)) for name in alike)}?"
    return f"the nearest folder that exists is '{parent}'"


def _check_class_folders(classes: ClassFolders, key: str) -> None:
    """Raises: SettingsError for a class folder that may not be read, or that holds no file."""
    root = classes.root
    for path in classes.classes:
        if not _may_be_read(root / path):
            raise no_permission(root / path)
    empty = [path for path in classes.classes if next(every_file(root / path), None) is None]
    if empty:
        named = ", ".join(f"'{path}'" for path in empty[:5])
        raise SettingsError(
            f"{key}: expected images of each class, got no file in {len(empty)} of {len(classes.classes)} class folders ({named}) below "
            f"'{root}'; add images, or remove the folders"
        )


def _contents(folder: Path) -> str:
    """What a folder holds that has no labelled image."""
    endings: dict[str, int] = {}
    for path in every_file(folder):
        endings[path.suffix.lower() or "no ending"] = endings.get(path.suffix.lower() or "no ending", 0) + 1
    if not endings:
        return f"no file below '{folder}'"
    found = ", ".join(f"{count} {ending}" for ending, count in sorted(endings.items(), key=lambda item: -item[1])[:4])
    return f"files without a class below '{folder}' ({found})"


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
        raise no_permission(folder) from error
    return [folder / name for name in visible]


def _may_be_read(folder: Path) -> bool:
    return os.access(folder, os.R_OK | os.X_OK)
