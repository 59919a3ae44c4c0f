"""Pictures that people shall label, kept where the operator wants that: encrypted for a key that the service does not have.

One file a picture in age's format, named by its request id, so that a word about a request finds its picture. `waiting/` holds
answered pictures until their truth comes or the room is needed: a right answer removes its picture, a wrong one keeps it.

Source: https://age-encryption.org/v1
"""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyrage

from imageloop.atomic_files import replacing
from imageloop.errors import ImageLoopError, SettingsError

RECIPIENT_VARIABLE = "IMAGELOOP_KEEP_PICTURES_FOR"
LIMIT_VARIABLE = "IMAGELOOP_KEPT_PICTURES_MB"
DEFAULT_LIMIT_MB = 256
FOLDER = "pictures"  # below the records'
WAITING = "waiting"
SUFFIX = ".age"
LOOKS = 32  # pictures that one process keeps before it looks whether there is room


@dataclass(frozen=True)
class KeptPicture:
    """`time`: when it was answered, in Unix seconds."""

    request_id: str
    file: Path
    time: float
    size_bytes: int


class PictureKeeper:
    """What the service keeps. A full disk never fails an answer; what is lost is counted."""

    def __init__(self, folder: Path, recipient: str, limit_mb: float, on_loss: Callable[[], None]) -> None:
        """Raises: SettingsError for what is no public key of age's."""
        try:
            self._recipient = pyrage.x25519.Recipient.from_str(recipient)
        except pyrage.RecipientError as error:
            raise SettingsError(
                f"{RECIPIENT_VARIABLE}: wanted a public key (age1...), found something else ({error}); make one: python run.py pictures key"
            ) from error
        self._folder, self._limit_bytes, self._on_loss = folder, int(limit_mb * 2**20), on_loss
        self._kept = 0

    @classmethod
    def from_environment(cls, records: str | None, on_loss: Callable[[], None]) -> "PictureKeeper | None":
        """None unless the operator asks for it. Raises: SettingsError where pictures would have no place."""
        recipient = os.environ.get(RECIPIENT_VARIABLE)
        if not recipient:
            return None
        if not records:
            raise SettingsError(f"{RECIPIENT_VARIABLE}: wanted a folder for records, found none to keep pictures in")
        limit = os.environ.get(LIMIT_VARIABLE) or str(DEFAULT_LIMIT_MB)
        if not limit.isdecimal() or int(limit) < 1:
            raise SettingsError(f"{LIMIT_VARIABLE}: wanted a number of megabytes, found '{limit}'")
        return cls(Path(records) / FOLDER, recipient, int(limit), on_loss)

    def keep(self, request_id: str, label: str, content: bytes, *, for_labelling: bool) -> None:
        """Until its truth comes, or for a person to label."""
        name = f"{request_id}{SUFFIX}" if for_labelling else f"{WAITING}/{request_id}-{_mark(label)}{SUFFIX}"
        try:
            with replacing(self._folder / name) as aside:
                aside.write_bytes(pyrage.encrypt(content, [self._recipient]))
            if self._kept % LOOKS == 0:
                self._make_room()
            self._kept += 1
        except OSError:
            self._on_loss()

    def learn(self, request_id: str, true_label: str) -> None:
        """The truth came: what was answered wrong stays."""
        for file in (self._folder / WAITING).glob(f"{request_id}-*{SUFFIX}"):
            with contextlib.suppress(OSError):  # it went for lack of room, or another worker was faster
                if file.stem == f"{request_id}-{_mark(true_label)}":
                    file.unlink()
                else:
                    file.replace(self._folder / f"{request_id}{SUFFIX}")

    def _make_room(self) -> None:
        """The oldest first, and what waits before what is to be labelled."""
        waiting = sorted(kept_pictures(self._folder / WAITING), key=lambda one: one.time)
        wanted = sorted(kept_pictures(self._folder), key=lambda one: one.time)
        surplus = sum(one.size_bytes for one in (*waiting, *wanted)) - self._limit_bytes
        for one in (*waiting, *wanted):
            if surplus <= 0:
                return
            one.file.unlink(missing_ok=True)
            surplus -= one.size_bytes


def _mark(label: str) -> str:
    """Of a class in a file's name: its place among the classes would be another one in the next version."""
    return hashlib.sha256(label.encode()).hexdigest()[:12]


def kept_pictures(folder: Path) -> Iterator[KeptPicture]:
    """Those in `folder` itself."""
    for file in folder.glob(f"*{SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):
            status = file.stat()
            yield KeptPicture(file.stem, file, status.st_mtime, status.st_size)


def delete_pictures(folder: Path, request_ids: list[str]) -> int:
    """Of these requests, wherever they lie, all pictures of a request that sent several; how many there were."""
    gone = 0
    for request_id in request_ids:
        endings = ("", "-*") if "." in request_id else ("", "-*", ".*")
        for file in [file for ending in endings for file in folder.rglob(f"{request_id}{ending}{SUFFIX}")]:
            file.unlink(missing_ok=True)
            gone += 1
    return gone


def read_picture(picture: KeptPicture, identity: Path) -> bytes:
    """The picture as it was sent. Raises: ImageLoopError for a key that is no key, or not the one it was kept for."""
    try:
        key = pyrage.x25519.Identity.from_str(identity.read_text().strip())
        return bytes(pyrage.decrypt(picture.file.read_bytes(), [key]))
    except (OSError, pyrage.IdentityError, pyrage.DecryptError) as error:
        raise ImageLoopError(
            f"wanted to read the picture of request {picture.request_id} with the key '{identity}', could not ({error}); name the key it was kept for"
        ) from error


def make_identity(file: Path) -> str:
    """The public key of the pair in `file`, which is made on first use."""
    if not file.exists():
        with replacing(file) as aside:
            aside.touch(mode=0o600)
            aside.write_text(f"{pyrage.x25519.Identity.generate()}\n")
    return str(pyrage.x25519.Identity.from_str(file.read_text().strip()).to_public())
