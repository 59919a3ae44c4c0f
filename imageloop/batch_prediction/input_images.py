"""Which images a batch prediction reads: of folders, buckets and manifest files, each image by its path or address."""

import io
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from imageloop.batch_prediction.settings import is_address
from imageloop.data.sources.folder import every_file
from imageloop.errors import ImageLoopError, SettingsError

MANIFESTS = (".txt", ".csv", ".jsonl", ".parquet")
COLUMNS = ("path", "size", "changed")
Row = tuple[str, int, str]


def list_images(inputs: Sequence[str]) -> pd.DataFrame:
    """The images of all inputs, each once, in their order: `path`, `size` in bytes (-1: unknown), `changed` (its time or its ETag).

    Raises: SettingsError for an input that does not exist or holds no file, ImageLoopError for one that cannot be read.
    """
    if not inputs:
        raise SettingsError(
            "inputs: expected images, folders or a manifest, got none; name them: python run.py predict --pipeline PATH"
        )
    listed: list[Row] = []
    for name in inputs:
        before = len(listed)
        listed += _listed(name)
        if len(listed) == before:
            raise SettingsError(f"inputs: expected images at '{name}', got no file; name a folder that holds images")
    return pd.DataFrame(listed, columns=list(COLUMNS)).drop_duplicates("path", ignore_index=True)


def read_content(path: str, max_bytes: int | None = None) -> bytes:
    """The bytes of a file; of one with more than `max_bytes` no more than show that.

    Raises: OSError or an error of the storage.
    """
    if not is_address(path):
        with open(path, "rb") as file:  # noqa: PTH123 - a path is a string here, a million times
            return file.read(-1 if max_bytes is None else max_bytes + 1)
    files, name = _file_system(path)
    content: bytes = files.cat_file(name, start=0, end=None if max_bytes is None else max_bytes + 1)
    return content


def _listed(name: str) -> Iterator[Row]:
    if PurePosixPath(name).suffix.lower() in MANIFESTS:
        yield from _of_manifest(name)
    elif is_address(name):
        yield from _of_storage(name)
    else:
        yield from _of_path(Path(name))


def _of_path(path: Path) -> Iterator[Row]:
    if not os.path.exists(path):  # noqa: PTH110 - Path.exists raises where permission is missing
        raise SettingsError(f"inputs: expected an image or a folder, got nothing at '{path}'; correct the path")
    for file in every_file(path, also_unreadable=True) if path.is_dir() else [path]:
        yield _of_file(_portable(str(file)))


def _of_file(path: str) -> Row:
    try:
        status = os.stat(path)  # noqa: PTH116 - a path is a string here
    except OSError:  # it is listed, and refused when it is read
        return path, -1, ""
    return path, status.st_size, str(status.st_mtime_ns)


def _portable(path: str) -> str:
    """A name that is not UTF-8 can be in no table; shown like this, its file is refused as one that does not exist."""
    return path.encode(errors="backslashreplace").decode()


def _of_storage(address: str) -> Iterator[Row]:
    try:
        files, root = _file_system(address)
        found = files.find(root, detail=True)
        if not found and not files.exists(root):
            raise FileNotFoundError("nothing")
    except Exception as error:  # each storage has errors of its own
        raise _unreadable(address, error) from error
    for name, facts in sorted(found.items()):
        hidden = any(part.startswith(".") for part in PurePosixPath(name.removeprefix(root)).parts)
        if not hidden and facts.get("type", "file") == "file":
            yield files.unstrip_protocol(name), int(facts.get("size") or 0), _changed(facts)


def _changed(facts: dict[str, Any]) -> str:
    return str(next((facts[name] for name in ("ETag", "etag", "LastModified", "mtime", "created") if facts.get(name)), ""))


def _of_manifest(name: str) -> Iterator[Row]:
    try:
        paths = _paths_in(name, read_content(name))
    except FileNotFoundError as error:
        raise SettingsError(f"inputs: expected a manifest, got nothing at '{name}'; correct the path") from error
    except Exception as error:
        raise _unreadable(name, error) from error
    folder = name.rpartition("/")[0]
    for path in paths:
        absolute = path if is_address(path) or path.startswith("/") else f"{folder}/{path}"
        yield (absolute, -1, "") if is_address(absolute) else _of_file(absolute)


def _paths_in(name: str, content: bytes) -> list[str]:
    """Raises: SettingsError for a manifest without the column `path`, or with rows that name nothing."""
    match PurePosixPath(name).suffix.lower():
        case ".txt":
            return [line for line in content.decode().splitlines() if line.strip()]
        case ".jsonl":
            rows = [json.loads(line) for line in content.decode().splitlines() if line.strip()]
            table = pd.DataFrame(rows)
        case ".csv":
            table = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False)
        case _:
            table = pd.read_parquet(io.BytesIO(content))
    if "path" not in table:
        raise SettingsError(f"inputs: expected a column 'path' in '{name}', got: {', '.join(map(str, table.columns)) or 'none'}")
    paths = table["path"]
    if len(paths) and not all(isinstance(path, str) and path.strip() for path in paths):
        row = next(number for number, path in enumerate(paths, 1) if not isinstance(path, str) or not path.strip())
        raise SettingsError(f"inputs: expected a path in each row of '{name}', got none in row {row}")
    return list(paths)


def _file_system(address: str) -> tuple[Any, str]:
    import fsspec

    files, name = fsspec.core.url_to_fs(address)
    return files, str(name)


def _unreadable(address: str, error: Exception) -> ImageLoopError:
    """The sentence for an input that cannot be read."""
    if isinstance(error, ImageLoopError):
        return error
    return ImageLoopError(
        f"expected to read '{address}', got {type(error).__name__}: {error}; check the address, the credentials in the environment, and "
        "the rights that they have"
    )
