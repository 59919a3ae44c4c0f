"""What to read, and how it becomes a data set."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from imageloop.settings import Settings

Fraction = Annotated[float, Field(ge=0, le=1)]


class Drift(Settings):
    """How the drawn world differs from the one that the first model learnt; zero everywhere is no drift."""

    darkness: Fraction = Field(0.0, description="0 daylight, 1 night")
    blur_pixels: float = Field(0.0, ge=0, le=20, description="radius of a Gaussian blur")
    style: Literal["painted", "outlined"] = Field("painted", description="outlined: a new artist draws lines, not surfaces")
    first_class_share: Fraction = Field(0.5, description="share of the pictures that show the first class")


class GeneratedSource(Settings):
    """Drawn pictures of cats and dogs: needs no download, and can be made to drift."""

    kind: Literal["generated"] = "generated"
    num_pictures: int = Field(600, ge=40, le=1_000_000, description="600 leave 60 test pictures and are drawn in seconds")
    seed: int = Field(7, ge=0)
    drift: Drift = Drift()


class FolderSource(Settings):
    """One folder a class, or Kaggle's `cat.12.jpg` names."""

    kind: Literal["folder"] = "folder"
    path: Path

    @field_validator("path")
    @classmethod
    def absolute(cls, path: Path) -> Path:
        return path.expanduser().absolute()


class ArchiveSource(Settings):
    """A zip or tar file, on this machine or at a URL; unpacked, it is read like a folder."""

    kind: Literal["archive"] = "archive"
    location: str = Field(description="a path or an http(s) URL")
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$", description="wanted for a URL, checked wherever given")
    max_files: int = Field(1_000_000, ge=1, description="more than this is taken for an attack")
    max_bytes: int = Field(100 * 2**30, ge=1, description="unpacked size; more than this is taken for an attack")

    @property
    def is_url(self) -> bool:
        return re.match(r"https?://", self.location) is not None

    @field_validator("location")
    @classmethod
    def absolute(cls, location: str) -> str:
        return location if "://" in location else str(Path(location).expanduser().absolute())

    @model_validator(mode="after")
    def a_url_needs_a_hash(self) -> Self:
        if "://" in self.location and not self.is_url:
            raise ValueError("wanted a path or an http(s) URL")
        if self.is_url and self.sha256 is None:
            raise ValueError("a URL needs sha256, so that what was asked for is what arrives")
        return self


class KaggleSource(Settings):
    """A Kaggle data set or competition; credentials come from Kaggle's own environment variables."""

    kind: Literal["kaggle"] = "kaggle"
    handle: str = Field(pattern=r"^[\w.-]+(/[\w.-]+)?(/versions/\d+)?$", description="owner/dataset, or a competition's name")
    folder: str = Field("", description="the folder inside the download that holds the pictures")


class DvcSource(Settings):
    """Pictures that another DVC repository tracks."""

    kind: Literal["dvc"] = "dvc"
    repository: str = Field(description="a path or a Git URL")
    path: str = Field("data/raw", description="inside that repository")
    revision: str | None = Field(None, description="a Git revision of it; by default its working tree or HEAD")


Source = Annotated[GeneratedSource | FolderSource | ArchiveSource | KaggleSource | DvcSource, Field(discriminator="kind")]


def only_here(source: Source) -> str | None:
    """What of a source only this machine can read; None where any machine can."""
    match source:
        case FolderSource():
            return str(source.path)
        case ArchiveSource() if not source.is_url:
            return source.location
        case DvcSource() if "://" not in source.repository and not source.repository.startswith("git@"):
            return source.repository
    return None


class Limits(Settings):
    """Which pictures are refused, checked before a pixel is decoded."""

    min_side_pixels: int = Field(32, ge=1, description="below this a picture holds too little to learn from")
    max_pixels: int = Field(50_000_000, ge=1, description="what today's cameras give, far below a decompression bomb")
    max_bytes: int = Field(50 * 2**20, ge=1, description="no photograph worth learning from is larger")


class SplitSettings(Settings):
    """Which share of each class teaches, tunes and judges."""

    seed: int = Field(7, ge=0)
    train: Fraction = 0.8
    validation: Fraction = 0.1
    test: Fraction = 0.1
    min_pictures_per_class: int = Field(
        10, ge=7, description="with 10, each split of 80/10/10 has one; with fewer than 7 none is tested"
    )

    @model_validator(mode="after")
    def shares_are_whole(self) -> Self:
        if abs(self.train + self.validation + self.test - 1) > 1e-6 or min(self.train, self.validation, self.test) <= 0:
            raise ValueError("train, validation and test must be above 0 and add up to 1")
        return self


class VersioningSettings(Settings):
    """What DVC keeps."""

    enabled: bool = Field(True, description="false reads a folder where it lies and records no way back to it")
    remote: str | None = Field(None, description="a remote of .dvc/config; by default DVC's default remote")
    archive: bool = Field(False, description="one tar file instead of single files: for large sets over a network")
    prepared: bool = Field(False, description="the prepared pictures too, though they can be made again")


class DataSettings(Settings):
    source: Source = GeneratedSource()
    kept: Path | None = Field(
        None,
        description="labelled pictures that the service kept (`run.py pictures export`): they teach and tune, and judge nothing",
    )
    limits: Limits = Limits()
    duplicate_bits: int = Field(4, ge=0, le=7, description="perceptual hashes that differ in so few of 64 bits show one picture")
    split: SplitSettings = SplitSettings()
    versioning: VersioningSettings = VersioningSettings()

    @model_validator(mode="after")
    def kept_pictures_are_tracked(self) -> Self:
        if self.kept is not None and not self.versioning.enabled:
            raise ValueError("kept pictures are copied to data/raw, which versioning.enabled=false leaves alone")
        return self
