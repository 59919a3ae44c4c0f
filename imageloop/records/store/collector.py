"""Move records from the services' files into the database, each once, even if it is killed.

python -m imageloop.records.store.collector FOLDER [SECONDS]     runs beside a service in its pod until it is stopped,
and SECONDS longer, since the service finishes its requests; IMAGELOOP_DATABASE names the database
"""

import logging
import os
import signal
import sys
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from imageloop.records.record_reader import made_at, read_chunk, record_files, remove_if_read
from imageloop.records.store.database import DATABASE_VARIABLE, Database, DatabaseError

logger = logging.getLogger(__name__)
EVERY_SECONDS = 5.0
LINGER_EVERY_SECONDS = 1.0
OLD_DAYS = 30  # no service writes to one file for so long
IDLE_SECONDS = 60.0  # a rollout reads the same files


@dataclass
class Collected:
    """The result of one pass: lines of each kind, malformed lines, and files that were removed."""

    predictions: int = 0
    feedback: int = 0
    broken: int = 0
    removed: int = 0


def collect(folder: Path, database: Database, idle_seconds: float = IDLE_SECONDS) -> Collected:
    """Read every file on from its position. A chunk and its position are one transaction, so a kill repeats or loses nothing.

    Raises: DatabaseError; what was read before is stored.
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
    """Files whose position can be forgotten. The database also has files of other folders: each pod has its own."""
    oldest = time.time_ns() - OLD_DAYS * 24 * 3600 * 10**9
    return sorted(name for name in set(known) - set(after) if name in before or made_at(name) < oldest)


def _collect_file(file: Path, name: str, database: Database, collected: Collected, idle_seconds: float) -> None:
    start = database.position(name)
    while (chunk := read_chunk(file, start)).end > start:
        if not database.keep(name, start, chunk.end, chunk.records):
            return  # another collector reads it
        start = chunk.end
        feedback = sum(record.kind == "feedback" for record in chunk.records)
        collected.feedback += feedback
        collected.predictions += len(chunk.records) - feedback
        collected.broken += chunk.broken
    if remove_if_read(file, start, idle_seconds):
        collected.removed += 1


def main(folder: Path, url: str, linger_seconds: float = 0.0) -> None:
    """Collect until the process is stopped, and once more at the end; a database that does not respond is tried again."""
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
        with closing(Database(url)) as database:
            collect(folder, database)
    except DatabaseError as error:
        logger.warning("%s", error)


if __name__ == "__main__":
    logging.basicConfig(format="%(levelname)s %(name)s %(message)s")
    main(Path(sys.argv[1]), os.environ[DATABASE_VARIABLE], *map(float, sys.argv[2:3]))
