"""Which commit of the code this is, or of another repository."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

TIMEOUT_SECONDS = 30
COMMIT_VARIABLE = "IMAGELOOP_COMMIT"  # of the code in an image, which has no repository


def commit_of(folder: Path) -> str:
    """The commit's hash, with `-dirty` where files differ from it; outside a repository IMAGELOOP_COMMIT, or `unknown`."""
    try:
        commit = _git("-C", folder, "rev-parse", "HEAD")
        return f"{commit}-dirty" if _git("-C", folder, "status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get(COMMIT_VARIABLE) or "unknown"


def commit_at(repository: str, revision: str | None) -> str:
    """The hash that a revision of a repository, at a path or a URL, is now; empty where it is unknown."""
    if revision and re.fullmatch(r"[0-9a-f]{7,40}", revision):
        return revision
    if Path(repository).is_dir():
        asked = ["-C", repository, "rev-parse", revision or "HEAD"]
    else:
        asked = ["ls-remote", "--", repository, *([f"refs/heads/{revision}", f"refs/tags/{revision}"] if revision else ["HEAD"])]
    try:
        output = _git(*asked, timeout=TIMEOUT_SECONDS, stdin=subprocess.DEVNULL, env=os.environ | {"GIT_TERMINAL_PROMPT": "0"})
    except (OSError, subprocess.SubprocessError):
        return ""
    return output.split(maxsplit=1)[0] if output else ""


def _git(*arguments: str | Path, **options: Any) -> str:
    return str(subprocess.run(["git", *arguments], check=True, capture_output=True, text=True, **options).stdout).strip()
