"""Find the error message for the user in a chain of exceptions."""

import errno
import shutil
from pathlib import Path

from imageloop.errors import ImageLoopError

NO_SPACE_BYTES = 2**20


def disk_is_full(folder: Path) -> bool:
    """Whether the disk is full: some libraries report failed files without the reason."""
    return shutil.disk_usage(folder).free < NO_SPACE_BYTES


def failed_step(error: BaseException) -> ImageLoopError | None:
    """The error that a user can act on, below those of libraries; None where there is none."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ImageLoopError):
            return seen
        if isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT):
            return ImageLoopError(f"expected space on the disk, got none left ({seen}); free some and run the same command again")
        seen = seen.__cause__ or seen.__context__
    return None
