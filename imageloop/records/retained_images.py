"""Image retention: images to be labelled, only where the operator turns it on, encrypted for a key that the service does not have.

One file an image in age's format, named by its request id, so that feedback finds its image. `waiting/` has
images until their ground truth comes or space is needed: a right prediction removes its image, a wrong one retains it. Where all are
to stay, right ones move too, so that retained images are a fair sample.

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

RECIPIENT_VARIABLE = "IMAGELOOP_RETAIN_IMAGES_FOR"
OLD_RECIPIENT_VARIABLE = "IMAGELOOP_KEEP_PICTURES_FOR"  # in manifests made before 0.2.0
LIMIT_VARIABLE = "IMAGELOOP_RETAINED_IMAGES_MB"
ALL_VARIABLE = "IMAGELOOP_RETAIN_ALL"
DEFAULT_LIMIT_MB = 256
FOLDER, OLD_FOLDER = "images", "pictures"  # below the records'; the second until 0.2.0
WAITING = "waiting"
KEY_NAME, OLD_KEY_NAME = "images.key", "pictures.key"  # the second until 0.2.0
SUFFIX = ".age"
CHECK_EVERY = 32  # images that one process writes between two checks of the space


@dataclass(frozen=True)
class RetainedImage:
    """A retained image. `time`: of its prediction, in Unix seconds."""

    request_id: str
    file: Path
    time: float
    size_bytes: int


def folder_of(records: Path) -> Path:
    """The folder of retained images below the records; one with the name that it had before 0.2.0 is renamed."""
    folder, old = records / FOLDER, records / OLD_FOLDER
    if old.is_dir() and not folder.exists():
        with contextlib.suppress(OSError):  # another worker renamed it
            old.rename(folder)
    return folder


class ImageRetention:
    """Write retained images. A full disk never fails a prediction; lost images are counted."""

    def __init__(
        self, folder: Path, recipient: str, limit_mb: float, on_loss: Callable[[], None], *, right_ones: bool = False
    ) -> None:
        """`right_ones`: a right prediction does not remove its image. Raises: SettingsError for what is no public key of age."""
        try:
            self._recipient = pyrage.x25519.Recipient.from_str(recipient)
        except pyrage.RecipientError as error:
            raise SettingsError(
                f"{RECIPIENT_VARIABLE}: expected a public key (age1...), got something else ({error}); make one: python run.py images key"
            ) from error
        self._folder, self._limit_bytes, self._on_loss = folder, int(limit_mb * 2**20), on_loss
        self._right_ones, self._num_retained = right_ones, 0

    @classmethod
    def from_environment(cls, records: str | None, on_loss: Callable[[], None]) -> "ImageRetention | None":
        """Make the retention that the operator configured, None where there is none. Raises: SettingsError without a folder for records."""
        recipient = os.environ.get(RECIPIENT_VARIABLE) or os.environ.get(OLD_RECIPIENT_VARIABLE)
        if not recipient:
            if os.environ.get(ALL_VARIABLE, "0") != "0":
                raise SettingsError(
                    f"{ALL_VARIABLE}: expected {RECIPIENT_VARIABLE} beside it, got none, so that no image is retained"
                )
            return None
        if not records:
            raise SettingsError(
                f"{RECIPIENT_VARIABLE}: expected a folder for records, got none; retained images are stored in it"
            )
        limit = os.environ.get(LIMIT_VARIABLE) or str(DEFAULT_LIMIT_MB)
        if not limit.isdecimal() or int(limit) < 1:
            raise SettingsError(f"{LIMIT_VARIABLE}: expected a number of megabytes, got '{limit}'")
        right_ones = os.environ.get(ALL_VARIABLE, "0")
        if right_ones not in ("0", "1"):
            raise SettingsError(f"{ALL_VARIABLE}: expected 1 or 0, got '{right_ones}'")
        return cls(folder_of(Path(records)), recipient, int(limit), on_loss, right_ones=right_ones == "1")

    def keep(self, request_id: str, label: str, content: bytes, *, for_labelling: bool) -> None:
        """Write an image, to wait for its ground truth or to be labelled."""
        name = f"{request_id}{SUFFIX}" if for_labelling else f"{WAITING}/{request_id}-{_mark(label)}{SUFFIX}"
        try:
            with replacing(self._folder / name) as aside:
                aside.write_bytes(pyrage.encrypt(content, [self._recipient]))
            if self._num_retained % CHECK_EVERY == 0:
                self._make_room()
            self._num_retained += 1
        except OSError:
            self._on_loss()

    def set_ground_truth(self, request_id: str, ground_truth: str) -> None:
        """Apply the ground truth: the image of a wrong prediction is retained, that of a right one removed."""
        for file in (self._folder / WAITING).glob(f"{request_id}-*{SUFFIX}"):
            with contextlib.suppress(OSError):  # it went for lack of room, or another worker was faster
                if file.stem == f"{request_id}-{_mark(ground_truth)}" and not self._right_ones:
                    file.unlink()
                else:
                    file.replace(self._folder / f"{request_id}{SUFFIX}")

    def _make_room(self) -> None:
        """Remove the oldest images, those that wait before those to be labelled."""
        waiting = sorted(retained_images(self._folder / WAITING), key=lambda one: one.time)
        to_label = sorted(retained_images(self._folder), key=lambda one: one.time)
        surplus = sum(one.size_bytes for one in (*waiting, *to_label)) - self._limit_bytes
        for one in (*waiting, *to_label):
            if surplus <= 0:
                return
            one.file.unlink(missing_ok=True)
            surplus -= one.size_bytes


def _mark(label: str) -> str:
    """A short mark of a class for a file name; its index would change with the classes."""
    return hashlib.sha256(label.encode()).hexdigest()[:12]


def retained_images(folder: Path) -> Iterator[RetainedImage]:
    """List the retained images in `folder` itself."""
    for file in folder.glob(f"*{SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):
            status = file.stat()
            yield RetainedImage(file.stem, file, status.st_mtime, status.st_size)


def images_by_request(records: Path) -> dict[str, RetainedImage]:
    """The retained images of a deployment by request, the oldest first: those to label, and those that wait for their ground truth."""
    folder = folder_of(records)
    waiting = ((one.request_id.rpartition("-")[0], one) for one in retained_images(folder / WAITING))
    found = [*waiting, *((one.request_id, one) for one in retained_images(folder))]
    return dict(sorted(found, key=lambda pair: (pair[1].time, pair[0])))


def delete_images(folder: Path, request_ids: list[str]) -> int:
    """Delete all images of these requests in every folder, and return how many there were."""
    gone = 0
    for request_id in request_ids:
        endings = ("", "-*") if "." in request_id else ("", "-*", ".*")
        for file in [file for ending in endings for file in folder.rglob(f"{request_id}{ending}{SUFFIX}")]:
            file.unlink(missing_ok=True)
            gone += 1
    return gone


def read_image(request_id: str, file: Path, identity: Path) -> bytes:
    """Decrypt an image. Raises: ImageLoopError for a malformed key, or another than it was encrypted for."""
    try:
        key = pyrage.x25519.Identity.from_str(identity.read_text().strip())
        return bytes(pyrage.decrypt(file.read_bytes(), [key]))
    except (OSError, pyrage.IdentityError, pyrage.DecryptError) as error:
        raise ImageLoopError(
            f"the image of request {request_id} cannot be decrypted with the key '{identity}' ({error}); use the key that it was encrypted for"
        ) from error


def identity_of(keys: Path) -> Path:
    """The file of the private key below the folder of keys; one with the name that it had before 0.2.0 is renamed."""
    file, old = keys / KEY_NAME, keys / OLD_KEY_NAME
    if old.exists() and not file.exists():
        old.rename(file)
    return file


def make_identity(file: Path) -> str:
    """The public key of the pair in `file`, which is made on first use."""
    if not file.exists():
        with replacing(file) as aside:
            aside.touch(mode=0o600)
            aside.write_text(f"{pyrage.x25519.Identity.generate()}\n")
    return str(pyrage.x25519.Identity.from_str(file.read_text().strip()).to_public())
