"""Find what a process that was killed left behind: its temporary folders, and marks of work that nobody does any more.

Works within one machine: the mark of another one's process is never called abandoned.
"""

import os
import re
import shutil
import socket
import tempfile
from pathlib import Path

FOLDER_NAME = re.compile(r"^imageloop-[a-z]+-(?P<pid>\d+)-")


def own_folder(kind: str) -> Path:
    """A new temporary folder that names this process; those of its kind whose process was killed are removed."""
    remove_abandoned_folders(kind)
    return Path(tempfile.mkdtemp(prefix=f"imageloop-{kind}-{os.getpid()}-"))


def remove_abandoned_folders(kind: str) -> None:
    """Remove the temporary folders of `kind` whose process is gone."""
    for folder in Path(tempfile.gettempdir()).glob(f"imageloop-{kind}-*"):
        match = FOLDER_NAME.match(folder.name)
        if match and not _runs(int(match["pid"])):
            shutil.rmtree(folder, ignore_errors=True)


def process_mark() -> str:
    """A text that names this process on this machine."""
    return f"{socket.gethostname()}/{os.getpid()}"


def is_abandoned(mark: str) -> bool:
    """Whether the process of a mark ran on this machine and is gone."""
    host, _, pid = mark.rpartition("/")
    return host == socket.gethostname() and pid.isdigit() and not _runs(int(pid))


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        return True
    return True
