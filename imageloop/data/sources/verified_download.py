"""Files from the network: a download that was cut off goes on, and a file has its name only once its hash is right."""

import http.client
import urllib.error
import urllib.request
from pathlib import Path

from imageloop.atomic_files import hash_of
from imageloop.errors import ImageLoopError
from imageloop.progress import track

CHUNK_BYTES = 2**20
TIMEOUT_SECONDS = 60


class DownloadError(ImageLoopError):
    """A file that cannot be had, or that is another than expected."""


def download(url: str, sha256: str, target: Path) -> Path:
    """Download to `target`, unless it is there already. Raises: DownloadError."""
    if target.exists():
        if hash_of(target) == sha256:
            return target
        target.unlink()  # damaged since
    part = target.with_suffix(".part")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        _download(url, part)
    except urllib.error.HTTPError as error:
        raise DownloadError(
            f"expected {url}, got the response {error.code} {error.reason}; correct the address, or see who may read it"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(
            f"expected {url}, got the connection failing ({error}); "
            "run the same command again and the download goes on where it stopped"
        ) from error
    try:
        check_hash(part, sha256)
    except DownloadError:
        part.unlink()
        raise
    part.rename(target)
    return target


def check_hash(file: Path, expected: str) -> None:
    """Raises: DownloadError for a file with another SHA-256."""
    if (actual := hash_of(file)) != expected:
        raise DownloadError(f"expected a file with sha256 {expected}, got {actual}; correct the setting or the address")


def _download(url: str, part: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing after what we have: the hash decides whether that is all
            return
        raise
    with response, part.open("ab" if response.status == 206 else "wb") as file:
        length = int(response.headers.get("Content-Length") or 0)
        for chunk in track(iter(lambda: response.read(CHUNK_BYTES), b""), "download", length, CHUNK_BYTES):
            file.write(chunk)
        if length and response.length:
            raise OSError(f"{response.length} bytes are missing")
