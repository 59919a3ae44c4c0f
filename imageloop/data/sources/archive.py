"""Zip and tar files: checked by hash, and unpacked with checks of every path and size."""

import gzip
import hashlib
import logging
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from imageloop.atomic_files import replacing
from imageloop.data.settings import ArchiveSource
from imageloop.data.sources.archive_names import decoder, zip_names
from imageloop.data.sources.verified_download import check_hash, download
from imageloop.errors import ImageLoopError, SettingsError
from imageloop.progress import track

logger = logging.getLogger(__name__)
CHUNK_BYTES = 2**20
RATIO_FROM_BYTES = 2**30
DAMAGE = (zlib.error, lzma.LZMAError, gzip.BadGzipFile)
TABLES = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".xlsx", ".parquet")
ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


class ArchiveError(ImageLoopError):
    """An archive that is not safe to unpack."""


def bring_archive(source: ArchiveSource, downloads: Path) -> Path:
    """Fetch the archive where needed, unpack it into a folder of `downloads` and return that folder."""
    if source.is_url:
        file = fetch(source, downloads)
    else:
        file = Path(source.location)
        if source.sha256:
            check_hash(file, source.sha256)
    folder = downloads / "unpacked"
    with replacing(folder) as aside:
        max_bytes = min(source.max_bytes, max(RATIO_FROM_BYTES, int(source.max_ratio * file.stat().st_size)))
        unpack(file, aside, source.max_files, max_bytes, source.encoding)
    return folder


def check_archive(source: ArchiveSource, key: str) -> None:
    """Raises: SettingsError for a local file that is missing or no archive."""
    if source.is_url:
        return
    file = Path(source.location)
    if not file.is_file():
        raise SettingsError(f"{key}: expected an archive, got no file at '{file}'; check the path")
    if file.suffix.lower() in TABLES:
        raise SettingsError(
            f"{key}: expected a folder of images or an archive, got a table at '{file}'; tables of labels are not read: sort the images "
            "into one folder a class, and name the folder around them"
        )
    if not (zipfile.is_zipfile(file) or tarfile.is_tarfile(file)):
        raise SettingsError(f"{key}: expected an archive ({', '.join(ENDINGS)}), got something else at '{file}'")


def fetch(source: ArchiveSource, downloads: Path) -> Path:
    """Download an archive, unless it is there."""
    return download(source.location, str(source.sha256), downloads / f"{source.sha256}.archive")


def unpack(file: Path, target: Path, max_files: int, max_bytes: int, encoding: str | None = None) -> None:
    """Unpack regular files into `target`; `encoding` is that of names which do not say what they are.

    Raises: ArchiveError for a path that leaves `target`, for more files or bytes than allowed (counted as they are
    written, not as the archive claims), for an encrypted or damaged archive.
    """
    num_files = num_bytes = 0
    try:
        for name, content in track(_members(file, encoding), "unpack", 0):
            num_files += 1
            if num_files > max_files:
                raise ArchiveError(
                    f"'{file.name}' holds more than {max_files} files; raise data.source.max_files if that is right"
                )
            num_bytes += _write(content, _inside(target, name, file), max_bytes - num_bytes, file)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise ArchiveError(f"'{file.name}' holds a file and a folder of one name; it cannot be unpacked") from error
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError, *DAMAGE) as error:
        raise ArchiveError(f"expected a whole zip or tar file, got a damaged or locked one at '{file}' ({error})") from error
    logger.info("unpacked %d files, %d bytes from %s", num_files, num_bytes, file)
    target.mkdir(parents=True, exist_ok=True)


def _members(file: Path, encoding: str | None) -> Iterator[tuple[str, IO[bytes]]]:
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            entries = [
                entry for entry in archive.infolist() if not entry.is_dir() and not stat.S_ISLNK(entry.external_attr >> 16)
            ]
            for entry, name in zip(entries, zip_names(entries, encoding), strict=True):
                with archive.open(entry) as content:
                    yield name, content
        return
    with tarfile.open(file) as tar:
        decode: Callable[[bytes], str] | None = None
        for member in tar:
            raw = member.name.encode(errors="surrogateescape")
            if decode is None and not _is_utf8(raw):
                names = [other.name.encode(errors="surrogateescape") for other in tar.getmembers()]
                decode = decoder([name for name in names if not _is_utf8(name)], encoding)
            extracted = tar.extractfile(member) if member.isreg() else None
            if extracted is not None:
                yield decode(raw) if decode and not _is_utf8(raw) else member.name, extracted
        while tar.fileobj is not None and tar.fileobj.read(CHUNK_BYTES):
            pass  # to the end, where the sum over all of it stands: without it a damaged image would pass


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _inside(target: Path, name: str, file: Path) -> Path:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or parts[0] == "/" or ".." in parts or ":" in parts[0]:
        raise ArchiveError(f"'{file.name}' holds a path that leaves its folder ('{name}'); it is not safe to unpack")
    return target.joinpath(*parts)


def _write(content: IO[bytes], path: Path, allowance: int, file: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with path.open("wb") as output:
        while chunk := content.read(CHUNK_BYTES):
            written += len(chunk)
            if written > allowance:
                raise ArchiveError(
                    f"'{file.name}' unpacks to more than data.source.max_bytes or max_ratio allows; raise it if that is right"
                )
            output.write(chunk)
    return written


def fingerprint(source: ArchiveSource) -> str:
    """The configured hash, or else the size and time of the file."""
    if source.sha256:
        return source.sha256[:16]
    status = Path(source.location).stat()
    return hashlib.sha256(f"{source.location}\0{status.st_size}\0{status.st_mtime_ns}".encode()).hexdigest()[:16]
