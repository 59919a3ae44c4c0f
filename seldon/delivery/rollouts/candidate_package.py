"""The package of a candidate, with what a rollout must know of it beside its manifest."""

from dataclasses import dataclass
from pathlib import Path

from imageloop.model.test_images import TestImage, read_test_images


@dataclass(frozen=True)
class CandidatePackage:
    """A copy of what the candidate serves, with its smoke-test and test images; without a folder none is sent.

    `unfair`: SHA-256 of images that trained the stable version, so they are no test of it; `overruled`: a user approved the candidate
    though a comparison was against it, so test images compare it with its own evaluation only; `of_several`: the candidate serves several
    versions, so it need not predict as this package does.
    """

    folder: Path | None = None
    unfair: frozenset[str] = frozenset()
    overruled: bool = False
    of_several: bool = False

    def test_images(self) -> list[TestImage]:
        """The test images that trained neither version."""
        images = read_test_images(self.folder) if self.folder else []
        return [image for image in images if image.sha256 not in self.unfair]
