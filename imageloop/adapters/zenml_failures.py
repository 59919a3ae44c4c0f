"""Find the sentence for a person in a chain of errors."""

import errno
import shutil
from pathlib import Path

from imageloop.errors import ImageLoopError

NO_SPACE_BYTES = 2**20


def disk_is_full(folder: Path) -> bool:
    """Some libraries say that files failed, and not why."""
    return shutil.disk_usage(folder).free < NO_SPACE_BYTES


def failed_step(error: BaseException) -> ImageLoopError | None:
    """The error that a person can act on, where others hide it; None where there is none."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ImageLoopError):
            return seen
        if isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT):
            return ImageLoopError(f"wanted space on the disk, found none left ({seen}); free some and run the same command again")
        seen = seen.__cause__ or seen.__context__
    return None
