"""Errors that a person can act on: what was wanted, what was found, what to do."""


class ImageLoopError(Exception):
    """The one error that the front door shows as a sentence; everything else is a defect of ours."""


class SettingsError(ImageLoopError):
    """A setting that cannot work; the front door answers with exit code 2."""


class ImageRefusedError(ImageLoopError):
    """A picture that cannot be used; `reason` is the short word that the catalog keeps."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
