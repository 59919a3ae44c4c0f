"""Files that machines share: what one pod decoded or computed, another one reads. By default nothing is shared.

`IMAGELOOP_SHARED` names a folder as fsspec knows it (`s3://bucket/shared`, `/mnt/shared`). Files have the same
names there as in the workspace.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from imageloop.atomic_files import replacing
from imageloop.errors import ImageLoopError
from imageloop.workspace_paths import Workspace

VARIABLE = "IMAGELOOP_SHARED"


class SharedFolder:
    """A folder that machines share. Every method raises ImageLoopError where it cannot be reached.

    `purpose` and `setting`, which has its address, are named in the error.
    """

    def __init__(self, url: str, purpose: str = "share files", setting: str = VARIABLE) -> None:
        import fsspec

        self.url, self._purpose, self._setting = url, purpose, setting
        with self._errors_named():
            self._files, self._root = fsspec.core.url_to_fs(url)

    def names(self, ending: str) -> list[str]:
        """List the names of the files that end with `ending`."""
        with self._errors_named():
            self._files.invalidate_cache()
            found = self._files.ls(self._root, detail=False) if self._files.exists(self._root) else []
        return sorted(Path(name).name for name in found if name.endswith(ending))

    def read(self, names: Sequence[str]) -> dict[str, bytes]:
        """Several small files at once; one that is gone meanwhile is left out."""
        if not names:
            return {}
        with self._errors_named():
            found = self._files.cat([self._path(name) for name in names], on_error="omit")
        return {Path(path).name: content for path, content in found.items()}

    def read_ranges(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Parts of one file, from the first byte of each to before its last."""
        with self._errors_named():
            parts = self._files.cat_ranges([self._path(name)] * len(ranges), *map(list, zip(*ranges, strict=True)))
        return list(parts)

    def fetch(self, name: str, target: Path) -> bool:
        """Copy a file from here; whether it is here."""
        with self._errors_named():
            if not self._files.exists(self._path(name)):
                return False
            with replacing(target) as aside:
                self._files.get_file(self._path(name), str(aside))
        return True

    def publish(self, path: Path) -> None:
        """Copy a file to here: whole, or not at all."""
        with self._errors_named():
            self._files.makedirs(self._root, exist_ok=True)
            if self._files.protocol[0] == "file":  # fsspec would copy from /tmp onto the name, which is no renaming on a mount
                with replacing(Path(self._path(path.name))) as aside:
                    shutil.copyfile(path, aside)
                return
            with (
                path.open("rb") as content,
                self._files.transaction,
                self._files.open(self._path(path.name), "wb") as file,
            ):
                shutil.copyfileobj(content, file, 2**24)

    def delete(self, name: str) -> None:
        with self._errors_named():
            self._files.rm_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextmanager
    def _errors_named(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # each file system has errors of its own
            raise ImageLoopError(f"expected to {self._purpose} at '{self.url}' ({self._setting}), got: {error!r}") from error


def shared(folder: Path) -> SharedFolder | None:
    """The shared counterpart of `folder`; None where nothing is shared."""
    home, folder = Workspace.current().home, folder.resolve()
    url = shared_address(folder.relative_to(home).as_posix()) if folder.is_relative_to(home) else None
    return SharedFolder(url) if url else None


def shared_address(name: str) -> str | None:
    """The address of a shared folder; None where nothing is shared."""
    url = os.environ.get(VARIABLE)
    return f"{url.rstrip('/')}/{name}" if url else None


def fetch(path: Path) -> None:
    """Fetch the newest shared copy of a file."""
    place = shared(path.parent)
    if place is not None:
        place.fetch(path.name, path)


def publish(path: Path) -> None:
    """Let others have a file."""
    place = shared(path.parent)
    if place is not None:
        place.publish(path)
