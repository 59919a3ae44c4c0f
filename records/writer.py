"""Write records beside the answering: a full disk or a slow one never delays or fails an answer; what is lost is counted."""

import contextlib
import json
import os
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

QUEUE_LENGTH = 10_000  # some seconds of answers
GATHER_SECONDS = 0.1  # one write for many records: the file and Python's lock are taken a few times a second
ROTATE_BYTES = 64 * 2**20
KEPT_FILES = 8


class RecordWriter:
    """Appends JSON lines to a file of this process's own, from one thread. Thread-safe."""

    def __init__(self, folder: Path, on_loss: Callable[[int], None]) -> None:
        self._folder = folder
        self._on_loss = on_loss
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue(QUEUE_LENGTH)
        self._thread = threading.Thread(target=self._work, name="records", daemon=True)
        self._thread.start()

    def write(self, record: dict[str, Any]) -> None:
        """Hand a record over; never waits."""
        try:
            self._queue.put_nowait(record)
        except queue.Full:
            self._on_loss(1)

    def close(self) -> None:
        """Write what waits, then stop."""
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=1)
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
            records = [record for record in batch if record is not None]
            if records:
                self._append(records)

    def _append(self, records: list[dict[str, Any]]) -> None:
        """One write for all that waits; a line is whole or absent, since a reader leaves out one without its end."""
        text = "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records)
        file = self._folder / f"records-{os.getpid()}.jsonl"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._rotate(file)
            with file.open("a", encoding="utf-8") as out:
                out.write(text)
        except OSError:
            self._on_loss(len(records))

    def _rotate(self, file: Path) -> None:
        if not file.exists() or file.stat().st_size < ROTATE_BYTES:
            return
        old = sorted(self._folder.glob(f"{file.stem}.*.jsonl"))
        for surplus in old[: len(old) - KEPT_FILES + 1]:
            surplus.unlink(missing_ok=True)
        number = int(old[-1].stem.rpartition(".")[2]) + 1 if old else 1
        file.rename(file.with_name(f"{file.stem}.{number:06d}.jsonl"))
