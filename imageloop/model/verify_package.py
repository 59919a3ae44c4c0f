"""Verify a package in a process of its own: python -m imageloop.model.verify_package FOLDER KEY.

What reads signatures takes 30 MB of memory, which a service would hold for good. `run_in_own_process` would leave a process of
multiprocessing's beside it, which tracks resources for as long as the service lives.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from imageloop.errors import ImageLoopError
from imageloop.model.package import PackageError, PackageInfo, open_package, read_info
from imageloop.workspace_paths import PROJECT

_verified: dict[tuple[Path, Path], str] = {}  # what this process has had verified, by folder and key: a hash of all bytes of both


def verified_package(folder: Path, key: Path) -> PackageInfo:
    """The description of a package whose signature and every file another process has verified.

    Where every byte is what it was when this process asked last, that holds still.
    Raises: PackageError with what that process found.
    """
    content = _digest(folder, key)
    if content is not None and _verified.get((folder, key)) == content:
        return read_info(folder)
    command = [sys.executable, "-m", __name__, str(folder), str(key)]
    path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": path})
    if done.returncode != 0:
        raise PackageError(done.stderr.strip() or f"the package in '{folder}' could not be verified")
    if content is not None and _digest(folder, key) == content:
        _verified[folder, key] = content
    return read_info(folder)


def _digest(folder: Path, key: Path) -> str | None:
    """A hash of the names and bytes of all files of a package, and of the key; None where they cannot be read."""
    digest = hashlib.sha256()
    try:
        for file in [key, *sorted(folder.rglob("*"))]:
            if file.is_file():
                content = file.read_bytes()
                digest.update(f"{file.relative_to(folder) if file != key else ''}\0{len(content)}\0".encode())
                digest.update(content)
    except OSError:
        return None
    return digest.hexdigest()


if __name__ == "__main__":
    try:
        open_package(*map(Path, sys.argv[1:3]))
    except ImageLoopError as error:
        sys.exit(str(error))
