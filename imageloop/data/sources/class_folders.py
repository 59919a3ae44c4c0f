"""Which folders are classes: not those around them, nor those of a split, whose sub-folders are the classes.

Data sets come as `train/cat`, `seg_train/seg_train/forest`, `cells/{infected,healthy,cells/{infected,healthy}}`. A folder is no class
but holds classes (a *pool*) where it is alone; where it is named after a split and has folders or names such as `cat.12.jpg` in it;
where its sub-folders are those of its neighbours of such names; where its sub-folders are named as its neighbours.
"""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath

from imageloop.errors import SettingsError

KAGGLE_NAME = re.compile(r"^(?P<label>[^\W\d][\w -]*)\.\d+\.\w+$")
SPLIT_FOLDER = re.compile(r"^(train(ing)?|val(id(ation)?)?|test(ing)?)\d*$", re.IGNORECASE)
SPLIT_WORDS = frozenset(
    [
        "train",
        "training",
        "val",
        "valid",
        "validation",
        "test",
        "testing",
        "dev",
        "eval",
        "evaluation",
        "holdout",
        "pred",
        "prediction",
        "unlabeled",
        "unlabelled",
    ]
)
RETAINED_FOLDER = "kept_by_service"  # within a class folder: images that the service retained
MAX_DEPTH = 4  # of pools within pools


class ClassFolders:
    """The pools and class folders below `root`, read once. `pools` and `classes` are relative POSIX paths."""

    def __init__(self, root: Path) -> None:
        """Raises: SettingsError where the structure has two readings, or a folder cannot be read."""
        self.root = root
        self.pools: list[str] = []
        self.classes: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._read(root, PurePosixPath(), 0)

    def label_of(self, name: str) -> str | None:
        """The class of a file by its relative POSIX name: its class folder, or Kaggle's prefix; None where it has none."""
        *folders, file = PurePosixPath(name).parts
        path = ""
        for folder in folders:
            path = f"{path}/{folder}" if path else folder
            if path in self.classes:
                return self.classes[path]
            if path not in self.pools:
                return None
        match = KAGGLE_NAME.match(file)
        return self._canonical(match["label"]) if match else None

    def notices(self) -> list[str]:
        """What a user should know of how the folders were read."""
        said = []
        if pools := [path for path in self.pools if "/" not in path]:
            said.append(
                f"the images of {_listed(pools)} are pooled and split anew: a split that comes with the data is not used yet"
            )
        nested = [path for path in self.classes if set(subfolders(self.root / path)) - {RETAINED_FOLDER}]
        if nested:
            said.append(f"all images below {_listed(nested)} are of that class, those in its sub-folders too")
        in_case = _groups(self.classes.values(), str.casefold)
        said += [
            f"the classes {_listed(names)} differ in upper and lower case only; rename one if they are one class"
            for names in in_case
        ]
        in_unicode = _groups(self.classes, lambda path: self.classes[path], by_name=True)
        return [*said, *(f"the folders {_listed(paths)} are one class: their names are equal in Unicode" for paths in in_unicode)]

    def _read(self, folder: Path, relative: PurePosixPath, depth: int) -> None:
        children = subfolders(folder)
        pools = _pools(folder, children) if depth < MAX_DEPTH else set()
        for name in children:
            path = str(relative / name)
            if name in pools:
                self.pools.append(path)
                self._read(folder / name, relative / name, depth + 1)
            else:
                self.classes[path] = self._canonical(name)

    def _canonical(self, name: str) -> str:
        """One name for those that Unicode considers equal: archives of different systems write one accent in two ways."""
        return self._names.setdefault(unicodedata.normalize("NFKC", name), unicodedata.normalize("NFC", name))


def _groups(items: Iterable[str], key: Callable[[str], str], *, by_name: bool = False) -> list[list[str]]:
    """Different items of one key; with `by_name`, of paths only those whose last parts differ."""
    groups: dict[str, set[str]] = {}
    for item in items:
        groups.setdefault(key(item), set()).add(item)
    return [
        sorted(group) for group in groups.values() if len({PurePosixPath(item).name for item in group} if by_name else group) > 1
    ]


def subfolders(folder: Path) -> list[str]:
    """The names of the visible folders in a folder, sorted; links that lead in a circle are none."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith((".", "__MACOSX")) and _is_folder(entry))
    except PermissionError as error:
        raise no_permission(folder) from error


def no_permission(folder: Path) -> SettingsError:
    return SettingsError(f"expected to read the folder '{folder}', got no permission; grant it or move it away")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir() and not (entry.is_symlink() and Path(entry.path).resolve() in Path(entry.path).absolute().parents)
    except OSError:
        return False


def _pools(folder: Path, children: list[str]) -> set[str]:
    inside = {name: _class_names_in(folder / name) for name in children}
    if len(children) == 1 and inside[children[0]]:
        return set(children)
    pools = {name for name in children if SPLIT_FOLDER.match(name)}
    if not any(inside[name] or _has_kaggle_names(folder / name) for name in pools) and pools != set(children):
        pools = set()  # a class `train` of vehicles, with its images right in it
    named = {name for name in children if is_split_name(name)}
    shared = Counter(label for name in named for label in inside[name])
    if any(count > 1 for count in shared.values()) or (named == set(children) and any(inside.values())):
        pools |= named
    pools |= {name for name in named if name == folder.name}  # an archive's folder in a folder of its name
    copies = {name for name in set(children) - pools if len(inside[name]) > 1 and inside[name] <= set(children) - pools - {name}}
    pools |= copies
    _refuse_two_readings(folder, {name: inside[name] for name in children if name not in pools})
    return pools


def _class_names_in(folder: Path) -> set[str]:
    """What would be classes in a folder, whatever folders are around them."""
    for _ in range(MAX_DEPTH):
        names = [name for name in subfolders(folder) if name != RETAINED_FOLDER]
        if len(names) != 1:
            return set(names)
        inside = subfolders(folder / names[0])
        if not inside:
            return set(names)
        folder /= names[0]
    return set()


def _has_kaggle_names(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(KAGGLE_NAME.match(entry.name) for entry in entries)


def _has_files(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(entry.is_file() and not entry.name.startswith(".") for entry in entries)


def is_split_name(name: str) -> bool:
    """Whether a folder is named after a split: `train`, and also `training_set`, `seg_train`, `train2017`, `Test Images`."""
    return any(word.rstrip("0123456789") in SPLIT_WORDS for word in re.split(r"[\W_]+", name.lower()))


def _refuse_two_readings(folder: Path, inside: Mapping[str, set[str]]) -> None:
    """Raises: SettingsError where would-be classes have the same sub-folders, which may be the classes just as well."""
    counts = Counter(label for names in inside.values() for label in names)
    shared = sorted(label for label, count in counts.items() if count > 1 and not is_split_name(label))
    holders = sorted(name for name, names in inside.items() if len(names & set(shared)) > 1 and not _has_files(folder / name))
    if len(holders) < 2 or any(2 * len(inside[name] & set(shared)) < len(inside[name]) for name in holders):
        return
    raise SettingsError(
        f"expected one folder a class, got the same sub-folders ({_listed(shared)}) in {_listed(holders)} of '{folder}': either may be the "
        f"classes. If {_listed(shared)} are, name one of {_listed(holders)} with --data, or join them; if {_listed(holders)} are, move their "
        "images out of the sub-folders"
    )


def _listed(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
