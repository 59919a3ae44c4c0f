"""Verify a package in a process of its own: python -m imageloop.model.verify_package FOLDER KEY.

What reads signatures takes 30 MB of memory, which a service would hold for good. `run_in_own_process` would leave a process of
multiprocessing's beside it, which tracks resources for as long as the service lives.
"""

import os
import subprocess
import sys
from pathlib import Path

from imageloop.errors import ImageLoopError
from imageloop.model.package import PackageError, PackageInfo, open_package, read_info
from imageloop.workspace_paths import PROJECT


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


if __name__ == "__main__":
    try:
        open_package(*map(Path, sys.argv[1:3]))
    except ImageLoopError as error:
        sys.exit(str(error))
