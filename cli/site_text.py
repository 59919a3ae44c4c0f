"""How the commands about a whole site show their results to a user."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from operations.backup import BackupResult, RestoredSite


def backup(result: "BackupResult") -> str:
    return "\n".join(
        [
            f"{result.archive}: {result.size_bytes / 2**20:.1f} MB",
            *(f"not in it: {one}" for one in result.left_out),
            "not in the archive: images (use dvc push to a remote) and the private signing key (store it separately)",
        ]
    )


def restored(result: "RestoredSite") -> str:
    return f"{result.files} files of {result.made_at} are in {result.home}; python run.py deploy serves the champion again"
