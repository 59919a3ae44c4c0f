"""Find the sentence for a person in a chain of errors."""

from classifier.errors import ImageLoopError


def failed_step(error: BaseException) -> ImageLoopError | None:
    """The error that a person can act on, where others hide it; None where there is none."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ImageLoopError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None
