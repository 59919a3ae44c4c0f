"""How the commands about a whole site show their results to a user."""

from typing import TYPE_CHECKING

from cli.output import lines

if TYPE_CHECKING:
    from rich.text import Text

    from operations.backup import BackupResult, RestoredSite


def backup(result: "BackupResult") -> "Text":
    """Name the archive with its size, and what is not in it."""
    return lines(
        f"{result.archive}: {result.size_bytes / 2**20:.1f} MB",
        *(f"not in it: {path}" for path in result.left_out),
        "not in the archive: images (use dvc push to a remote) and the private signing key (store it separately)",
    )


def restored(result: "RestoredSite") -> str:
    """Say where the restored files are, and what to do next."""
    return f"{result.files} files of {result.made_at} are in {result.home}; python run.py deploy serves the champion again"
