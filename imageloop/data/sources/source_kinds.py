"""Every kind of source becomes a local folder of images; here is which kind goes where."""

import hashlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from imageloop.data.settings import (
    ArchiveSource,
    DataSettings,
    DvcSource,
    FolderSource,
    GeneratedSource,
    KaggleSource,
    Source,
)
from imageloop.data.sources import archive, folder, kaggle
from imageloop.errors import SettingsError

FetchFromDvc = Callable[[DvcSource, Path], Path]


def bring_in(source: Source, downloads: Path, fetch_from_dvc: FetchFromDvc) -> Path:
    """The local folder that holds the images of `source`; below `downloads` where it had to be made.

    `fetch_from_dvc` is passed in, because the core knows no DVC.
    """
    match source:
        case GeneratedSource():
            from imageloop.data.sources.generated import bring_generated  # needs NumPy and Pillow, the others do not

            return bring_generated(source, downloads)
        case FolderSource():
            return source.path
        case ArchiveSource():
            return archive.bring_archive(source, downloads)
        case KaggleSource():
            return kaggle.bring_kaggle(source)
        case DvcSource():
            return fetch_from_dvc(source, downloads)


def check(settings: DataSettings) -> None:
    """Refuse what cannot work, in well under a second.

    Raises: SettingsError.
    """
    if settings.retained_images is not None and not settings.retained_images.is_dir():
        raise SettingsError(
            f"data.retained_images: expected a folder with one folder a class, got none at '{settings.retained_images}'"
        )
    match source := settings.source:
        case FolderSource():
            folder.check_folder(source.path, "data.source.path")
        case ArchiveSource():
            archive.check_archive(source, "data.source.location")
        case KaggleSource():
            kaggle.check_kaggle("data.source.handle")
        case DvcSource(repository=repository) if ":" not in repository and not Path(repository).is_dir():
            raise SettingsError(
                f"data.source.repository: expected a DVC repository, got no folder at '{repository}'; name a folder or Git's address of one"
            )
        case _:
            pass


def fingerprint(settings: DataSettings) -> str:
    """A string that changes whenever the images may have changed; cheap, since every run computes it."""
    found = _source_fingerprint(settings.source)
    if settings.retained_images is None:
        return found
    return hashlib.sha256(f"{found} {folder.fingerprint(settings.retained_images)}".encode()).hexdigest()[:16]


def _source_fingerprint(source: Source) -> str:
    match source:
        case FolderSource():
            return folder.fingerprint(source.path)
        case ArchiveSource():
            return archive.fingerprint(source)
        case DvcSource():
            return _dvc_fingerprint(source)
        case _:
            return hashlib.sha256(source.model_dump_json().encode()).hexdigest()[:16]


def _dvc_fingerprint(source: DvcSource) -> str:
    """The settings of the source, and for a repository on this machine the DVC pointers of the path."""
    digest = hashlib.sha256(source.model_dump_json().encode())
    repository, path = Path(source.repository), PurePosixPath(source.path)
    for pointer in (*(f"{part}.dvc" for part in (path, *path.parents)), "dvc.lock"):
        if (repository / pointer).is_file():
            digest.update((repository / pointer).read_bytes())
    return digest.hexdigest()[:16]
