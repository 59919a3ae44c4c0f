"""Write records in a thread of their own: a full or slow disk never delays or fails a prediction; lost records are counted."""

import contextlib
import fcntl
import logging
import os
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import orjson

logger = logging.getLogger(__name__)
QUEUE_LENGTH = 2_000  # some ten seconds of predictions, and some 25 KB each until it is written
GATHER_SECONDS = 0.1  # many are made and written at once: code that just ran is faster, and the file is opened less often
ROTATE_BYTES = 64 * 2**20
MAX_FOLDER_BYTES = 512 * 2**20  # of one folder, where no collector runs
PATTERN = "records-*.jsonl"
Make = Callable[[], dict[str, Any]]  # makes a record


class RecordWriter:
    """Appends JSON lines to files of this process's own. Thread-safe.

    A file is never renamed, and no name is used twice: so a reader may store its position by name.
    """

    def __init__(
        self, folder: Path, on_loss: Callable[[int], None], also: Callable[[dict[str, Any]], None] | None = None
    ) -> None:
        """`also` gets every record that was made, in the thread that writes it."""
        self._folder = folder
        self._on_loss, self._also = on_loss, also
        self._file = self._new_file()
        self._appending = threading.Lock()
        self._queue: queue.SimpleQueue[Make | None] = queue.SimpleQueue()  # its lock is never held by Python code
        self._thread = threading.Thread(target=self._work, name="records", daemon=True)
        self._thread.start()

    def write(self, make: Make) -> None:
        """Queue the function that makes a record. Never waits."""
        if self._queue.qsize() < QUEUE_LENGTH:
            self._queue.put(make)
        else:
            self._on_loss(1)

    def write_through(self, record: dict[str, Any]) -> bool:
        """Write a record before returning, for one that is acknowledged; False where that failed."""
        self._pass_on(record)
        return self._append([_line(record)])

    def close(self) -> None:
        """Write what waits, then stop."""
        self._queue.put(None)
        self._thread.join(timeout=5)

    def _work(self) -> None:
        stopping = False
        while not stopping:
            batch = [self._queue.get()]
            if batch[0] is not None:
                time.sleep(GATHER_SECONDS)
            while len(batch) < QUEUE_LENGTH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            stopping = None in batch
            lines = [line for make in batch if make is not None for line in self._made(make)]
            if lines:
                self._append(lines)

    def _made(self, make: Make) -> Iterator[bytes]:
        """The line of one record; none where it cannot be made, so that the others are written all the same."""
        try:
            record = make()
            yield _line(record)
        except Exception:
            logger.exception("a record could not be made and is lost")
            self._on_loss(1)
        else:
            self._pass_on(record)

    def _pass_on(self, record: dict[str, Any]) -> None:
        if self._also is None:
            return
        try:
            self._also(record)
        except Exception:
            logger.exception("a record was written, and could not be sent")

    def _append(self, lines: list[bytes]) -> bool:
        """Write all lines at once; only whole lines remain, also where the disk is full in the middle."""
        content = b"".join(lines)
        try:
            with self._appending, self._opened() as file:
                end = file.seek(0, os.SEEK_END)
                try:
                    _write_all(file, content)
                except OSError:
                    file.truncate(end)
                    raise
        except OSError:
            self._on_loss(len(lines))
            return False
        return True

    @contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        """The file, locked against its removal; another one where it is full or was removed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._reopened()
        if file is None:
            self._remove_surplus()
            self._file = self._new_file()
            file = self._file.open("xb", buffering=0)
            fcntl.flock(file, fcntl.LOCK_EX)
        with file:
            yield file

    def _reopened(self) -> IO[bytes] | None:
        """Never made again under its name, from which a reader would conclude that it had read the beginning."""
        try:
            file = self._file.open("r+b", buffering=0)
        except FileNotFoundError:
            return None
        fcntl.flock(file, fcntl.LOCK_EX)
        status = os.fstat(file.fileno())
        if status.st_nlink > 0 and status.st_size < ROTATE_BYTES:
            return file
        file.close()
        return None

    def _new_file(self) -> Path:
        return self._folder / f"records-{time.time_ns()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.jsonl"

    def _remove_surplus(self) -> None:
        """Remove the oldest files; records that were not collected are lost, and counted."""
        sizes = {file: size_of(file) for file in sorted(self._folder.glob(PATTERN))}
        surplus = sum(sizes.values()) - MAX_FOLDER_BYTES
        for file, size in sizes.items():
            if surplus <= 0:
                return
            surplus -= size
            with contextlib.suppress(FileNotFoundError):
                lost = file.read_bytes().count(b"\n")
                file.unlink()
                self._on_loss(lost)


def size_of(file: Path) -> int:
    """Return the size of a file in bytes; 0 where its collector removed it meanwhile."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _line(record: dict[str, Any]) -> bytes:
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


def _write_all(file: IO[bytes], content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[file.write(view) :]
