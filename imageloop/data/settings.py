"""What to read, and how it becomes a data set."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from imageloop.settings import Settings, absolute, is_url

Fraction = Annotated[float, Field(ge=0, le=1)]


class Drift(Settings):
    """How the drawn images differ from the default ones; zero everywhere means no drift."""

    darkness: Fraction = Field(0.0, description="0 daylight, 1 night")
    blur_pixels: float = Field(0.0, ge=0, le=20, description="radius of a Gaussian blur")
    style: Literal["painted", "outlined"] = Field("painted", description="outlined: a new artist draws lines, not surfaces")
    first_class_share: Fraction = Field(0.5, description="share of the images that show the first class")


class GeneratedSource(Settings):
    """Drawn images of cats and dogs: needs no download, and can be made to drift."""

    kind: Literal["generated"] = "generated"
    num_images: int = Field(600, ge=40, le=1_000_000, description="600 give 60 test images and are drawn in seconds")
    seed: int = Field(7, ge=0)
    drift: Drift = Drift()


class FolderSource(Settings):
    """Reads a folder with one folder a class, or Kaggle's names such as `cat.12.jpg`."""

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
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$", description="required for a URL, checked wherever given")
    encoding: str | None = Field(
        None, description="code page of names that do not say theirs, such as cp932 or gb18030; by default it is detected"
    )
    max_files: int = Field(1_000_000, ge=1, description="more is treated as an attack")
    max_bytes: int = Field(100 * 2**30, ge=1, description="unpacked size; more is treated as an attack")
    max_ratio: float = Field(
        100,
        ge=1,
        description="unpacked to packed size, from 1 GiB on; images are packed already, and more is treated as an attack",
    )

    @property
    def is_url(self) -> bool:
        return is_url(self.location)

    @field_validator("location")
    @classmethod
    def absolute(cls, location: str) -> str:
        return absolute(location)

    @model_validator(mode="after")
    def a_url_needs_a_hash(self) -> Self:
        if "://" in self.location and not self.is_url:
            raise ValueError("expected a path or an http(s) URL")
        if self.is_url and self.sha256 is None:
            raise ValueError("a URL needs sha256, so that a changed archive is noticed")
        return self


class KaggleSource(Settings):
    """A Kaggle data set or competition; credentials come from Kaggle's own environment variables."""

    kind: Literal["kaggle"] = "kaggle"
    handle: str = Field(pattern=r"^[\w.-]+(/[\w.-]+)?(/versions/\d+)?$", description="owner/dataset, or a competition's name")
    folder: str = Field("", description="the folder inside the download that holds the images")


class DvcSource(Settings):
    """Images that another DVC repository tracks."""

    kind: Literal["dvc"] = "dvc"
    repository: str = Field(description="a path or a Git URL")
    path: str = Field("data/raw", description="inside that repository")
    revision: str | None = Field(None, description="a Git revision of it; by default its working tree or HEAD")


Source = Annotated[GeneratedSource | FolderSource | ArchiveSource | KaggleSource | DvcSource, Field(discriminator="kind")]


def only_here(source: Source) -> str | None:
    """Name what only this machine can read of a source; None where any machine can."""
    match source:
        case FolderSource():
            return str(source.path)
        case ArchiveSource() if not source.is_url:
            return source.location
        case DvcSource() if "://" not in source.repository and not source.repository.startswith("git@"):
            return source.repository
    return None


class Limits(Settings):
    """Limits beyond which an image is refused; they are checked before decoding."""

    min_side_pixels: int = Field(32, ge=1, description="smaller images show too little")
    max_pixels: int = Field(200_000_000, ge=1, description="as large as images of today's cameras, below a decompression bomb")
    max_decoding_bytes: int = Field(
        400 * 2**20,
        ge=2**20,
        description="of memory: baseline JPEG takes little at any size, PNG and TIFF reach it with 84 megapixels, HEIC with 52, WebP with 25",
    )
    max_bytes: int = Field(50 * 2**20, ge=1, description="no useful photograph is larger")


class SplitSettings(Settings):
    """The share of each class in the train, validation and test split."""

    seed: int = Field(7, ge=0)
    train: Fraction = 0.8
    validation: Fraction = 0.1
    test: Fraction = 0.1
    min_images_per_class: int = Field(
        10, ge=7, description="with 10, each split of 80/10/10 has one; with fewer than 7 a class has no test image"
    )

    @model_validator(mode="after")
    def shares_are_whole(self) -> Self:
        if abs(self.train + self.validation + self.test - 1) > 1e-6 or min(self.train, self.validation, self.test) <= 0:
            raise ValueError("train, validation and test must be above 0 and add up to 1")
        return self


class VersioningSettings(Settings):
    """Chooses what DVC tracks."""

    enabled: bool = Field(True, description="false reads a folder in place; a run then cannot be restored")
    remote: str | None = Field(None, description="a remote of .dvc/config; by default DVC's default remote")
    archive: bool = Field(False, description="one tar file instead of single files: for large sets over a network")
    prepared: bool = Field(False, description="the prepared images too, though they can be made again")


class DataSettings(Settings):
    source: Source = GeneratedSource()
    data_set: str = Field(
        "",
        pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.-]*)?$",
        description="images and catalog in a folder of their own below data/sets, beside other data sets; --model fills in its name",
    )
    retained_images: Path | None = Field(
        None,
        description="labelled images that the service retained (`run.py images export`): for training and validation, never for testing",
    )
    limits: Limits = Limits()
    duplicate_bits: int = Field(
        4, ge=0, le=7, description="perceptual hashes that differ in at most so many of 64 bits are near duplicates"
    )
    max_quarantined: Fraction = Field(
        0.1, description="share of the files; where more cannot be used, the run stops and says why"
    )
    split: SplitSettings = SplitSettings()
    versioning: VersioningSettings = VersioningSettings()

    @model_validator(mode="after")
    def kept_images_are_tracked(self) -> Self:
        if self.retained_images is not None and not self.versioning.enabled:
            raise ValueError("retained images are copied to data/raw, which versioning.enabled=false leaves alone")
        return self
