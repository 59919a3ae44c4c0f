"""Read the records of services, also while they are written."""

import fcntl
import os
import time
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from imageloop.records.record_types import FeedbackRecord, PredictionRecord
from imageloop.records.record_writer import PATTERN, size_of

Record = PredictionRecord | FeedbackRecord
KINDS: dict[bytes, type[Record]] = {b'{"kind":"prediction"': PredictionRecord, b'{"kind":"feedback"': FeedbackRecord}


@dataclass(frozen=True)
class Chunk:
    """Whole lines of one file, from `start` on. `broken`: how many of them are no records."""

    file: Path
    start: int
    end: int
    records: list[Record]
    broken: int


def read_chunk(file: Path, start: int, max_bytes: int = 16 * 2**20) -> Chunk:
    """Read the complete lines of a file from `start` on."""
    with file.open("rb") as lines:
        lines.seek(start)
        whole, newline, _ = lines.read(max_bytes).rpartition(b"\n")
    found = [_record(line) for line in whole.split(b"\n")] if newline else []
    records = [record for record in found if record is not None]
    return Chunk(file, start, start + len(whole) + len(newline), records, len(found) - len(records))


def record_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob(PATTERN))


def made_at(name: str) -> int:
    """When a file was begun, in nanoseconds since 1970, by its name; 0 for a name of another kind."""
    _, _, rest = name.rpartition("/")[2].partition("-")
    time_ns, _, _ = rest.partition("-")
    return int(time_ns) if time_ns.isdecimal() else 0


def remove_if_read(file: Path, end: int, idle_seconds: float) -> bool:
    """Remove a file that was read to its end and has not grown for a while; its writer takes another one then."""
    with file.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        status = os.fstat(held.fileno())
        done = status.st_size == end and time.time() - status.st_mtime > idle_seconds
        if done:
            file.unlink(missing_ok=True)
        return done


class RecordTail:
    """Whole lines below a folder, each once, in the order of their arrival; files may be rotated meanwhile."""

    def __init__(self, folder: Path, *, from_now: bool = False) -> None:
        self._folder = folder
        self._ends: dict[Path, int] = {}
        if from_now:
            self._ends = {file: size_of(file) for file in record_files(folder)}

    def read(self) -> list[Record]:
        """Read what was written since the last call. A line that is broken is left out."""
        found: list[Record] = []
        for file in record_files(self._folder):
            try:
                chunk = read_chunk(file, self._ends.get(file, 0), -1)
            except FileNotFoundError:  # collected and removed meanwhile
                continue
            self._ends[file] = chunk.end
            found += chunk.records
        return sorted(found, key=lambda record: record.time)


def _record(line: bytes) -> Record | None:
    kind = next((kind for start, kind in KINDS.items() if line.startswith(start)), None)
    if kind is None:
        return None
    try:
        return kind.model_validate_json(line)
    except ValidationError:
        return None
