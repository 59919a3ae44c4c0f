"""Find the error message for the user in a chain of exceptions."""

import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from imageloop.errors import ImageLoopError

NO_SPACE_BYTES = 2**20


def disk_is_full(folder: Path) -> bool:
    """Whether the disk is full: some libraries report failed files without the reason."""
    return shutil.disk_usage(folder).free < NO_SPACE_BYTES


def was_interrupted(error: BaseException) -> bool:
    """Whether the user stopped the work: ZenML makes another error of Ctrl-C within a step."""
    from zenml.exceptions import RunInterruptedException

    return any(isinstance(one, KeyboardInterrupt | RunInterruptedException) for one in _chain(error))


def failed_step(error: BaseException) -> ImageLoopError | None:
    """The error that a user can act on, below those of libraries; None where there is none."""
    for one in _chain(error):
        if isinstance(one, ImageLoopError):
            return one
        if isinstance(one, OSError) and one.errno in (errno.ENOSPC, errno.EDQUOT):
            return ImageLoopError(f"expected space on the disk, got none left ({one}); free some and run the same command again")
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__
