"""Move records from the services' files into the database, each once, whenever it may be killed.

python -m imageloop.records.store.collector FOLDER [SECONDS]     does so until told to stop, and SECONDS longer, beside a service in its pod, which
answers on for a while; IMAGELOOP_DATABASE names the database
"""

import logging
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from imageloop.records.record_reader import made_at, read_chunk, record_files, remove_if_read
from imageloop.records.store.database import DATABASE_VARIABLE, Database, DatabaseError

logger = logging.getLogger(__name__)
EVERY_SECONDS = 5.0
LINGER_EVERY_SECONDS = 1.0
OLD_DAYS = 30  # no service writes to one file for so long
IDLE_SECONDS = 60.0  # a rollout that watches reads the same files


@dataclass
class Collected:
    """What one pass brought: lines of each kind, lines that were no records, files that were done with."""

    predictions: int = 0
    feedback: int = 0
    broken: int = 0
    removed: int = 0


def collect(folder: Path, database: Database, idle_seconds: float = IDLE_SECONDS) -> Collected:
    """Read every file on from where it was left. A chunk and its place are written together, so a kill repeats or loses nothing.

    Raises: DatabaseError; what was read by then is kept.
    """
    collected = Collected()
    before = _names(folder)
    for name in before:
        try:
            _collect_file(folder / name, name, database, collected, idle_seconds)
        except FileNotFoundError:  # its writer removed it to save space
            continue
    if gone := _gone(before, _names(folder), database.files()):
        database.forget_files(gone)
    if collected.broken:
        logger.warning("left out %d lines that are no records", collected.broken)
    return collected


def _names(folder: Path) -> list[str]:
    return [str(file.relative_to(folder)) for file in record_files(folder)]


def _gone(before: list[str], after: list[str], known: list[str]) -> list[str]:
    """Files whose place need not be known any more. Those of other folders are known too: each pod has its own, and all one database."""
    oldest = time.time_ns() - OLD_DAYS * 24 * 3600 * 10**9
    return sorted(name for name in set(known) - set(after) if name in before or made_at(name) < oldest)


def _collect_file(file: Path, name: str, database: Database, collected: Collected, idle_seconds: float) -> None:
    start = database.position(name)
    while (chunk := read_chunk(file, start)).end > start:
        if not database.keep(name, start, chunk.end, chunk.records):
            return  # another collector is at it
        start = chunk.end
        feedback = sum(record.kind == "feedback" for record in chunk.records)
        collected.feedback += feedback
        collected.predictions += len(chunk.records) - feedback
        collected.broken += chunk.broken
    if remove_if_read(file, start, idle_seconds):
        collected.removed += 1


def main(folder: Path, url: str, linger_seconds: float = 0.0) -> None:
    """A database that does not answer is asked again; what was written last is collected before the end."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    while not stopping.wait(EVERY_SECONDS):
        _pass(folder, url)
    deadline = time.monotonic() + linger_seconds
    while time.monotonic() < deadline:
        _pass(folder, url)
        time.sleep(LINGER_EVERY_SECONDS)
    _pass(folder, url)


def _pass(folder: Path, url: str) -> None:
    try:
        database = Database(url)
        try:
            collect(folder, database)
        finally:
            database.close()
    except DatabaseError as error:
        logger.warning("%s", error)


if __name__ == "__main__":
    logging.basicConfig(format="%(levelname)s %(name)s %(message)s")
    main(Path(sys.argv[1]), os.environ[DATABASE_VARIABLE], *map(float, sys.argv[2:3]))
