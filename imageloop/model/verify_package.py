"""Verify a package in a process of its own: python -m imageloop.model.verify_package FOLDER KEY.

What reads signatures takes 30 MB of memory, which a service would hold for good. `run_in_own_process` would leave a process of
multiprocessing's beside it, which tracks resources for as long as the service lives.
"""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from imageloop.atomic_files import hash_of
from imageloop.errors import ImageLoopError
from imageloop.model.package import PackageError, PackageInfo, open_package, read_info
from imageloop.workspace_paths import PROJECT

Verify = Callable[[Path, Path], PackageInfo]
_verified: dict[tuple[Path, Path], str] = {}  # what this process has had verified, by folder and key: a hash of all bytes of both


def verified_package(folder: Path, key: Path) -> PackageInfo:
    """The description of a package whose signature and every file another process has verified.

    Raises: PackageError with what that process found.
    """
    command = [sys.executable, "-m", __name__, str(folder), str(key)]
    path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": path})
    if done.returncode != 0:
        raise PackageError(done.stderr.strip() or f"the package in '{folder}' could not be verified")
    return read_info(folder)


def verified_once(folder: Path, key: Path) -> PackageInfo:
    """As `verified_package`, in a process that opens the same packages again and again: the same bytes are verified once.

    Raises: as `verified_package`.
    """
    content = _digest(folder, key)
    if content is not None and _verified.get((folder, key)) == content:
        return read_info(folder)
    info = verified_package(folder, key)
    if content is not None and _digest(folder, key) == content:
        _verified[folder, key] = content
    return info


def _digest(folder: Path, key: Path) -> str | None:
    """A hash of the names and bytes of all files of a package, and of the key; None where they cannot be read."""
    try:
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        parts = [hash_of(key), *(f"{file.relative_to(folder)}\0{hash_of(file)}" for file in files)]
    except OSError:
        return None
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


if __name__ == "__main__":
    try:
        open_package(*map(Path, sys.argv[1:3]))
    except ImageLoopError as error:
        sys.exit(str(error))
