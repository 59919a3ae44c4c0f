"""Errors that a user can act on: what happened, expected and got, what to do."""


class ImageLoopError(Exception):
    """The one error that the front door shows as a sentence; everything else is a defect of ours."""


class SettingsError(ImageLoopError):
    """A setting that cannot work; the command ends with exit code 2."""


class ImageRefusedError(ImageLoopError):
    """An image that cannot be used; `reason` is the short code that the catalog stores."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type["ImageRefusedError"], tuple[str, str]]:
        """It comes back whole from another process."""
        return type(self), (self.reason, self.detail)
