"""Which commit of the code this is."""

import subprocess
from pathlib import Path


def commit_of(folder: Path) -> str:
    """The commit's hash, with `-dirty` where files differ from it; `unknown` outside a repository."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return f"{commit}-dirty" if _git(folder, "status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", folder, *arguments], check=True, capture_output=True, text=True).stdout.strip()
