"""Files that are whole or absent: written aside, then renamed."""

import hashlib
import os
import secrets
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a path beside `target` to write a file or a folder to; it replaces the target when the block ends without an error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = _aside(target)
    try:
        yield aside
        if target.is_dir():
            shutil.rmtree(target)
        aside.replace(target)
    finally:
        if aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink(missing_ok=True)


def _aside(target: Path) -> Path:
    """A name beside it that does not grow with its own, which may be as long as one can be."""
    return target.parent / f".{uuid.uuid4().hex[:12]}.tmp"


def hash_of(file: Path) -> str:
    """The SHA-256 of a file's bytes, in hex; read in pieces."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def own_secret(file: Path) -> str:
    """The secret in a file that only its owner may read; made at random at the first call, and the same for concurrent ones."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        aside = _aside(file)
        aside.touch(0o600)
        aside.write_text(secrets.token_hex(24))
        with suppress(FileExistsError):
            os.link(aside, file)
        aside.unlink()
    return file.read_text()
