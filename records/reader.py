"""Read what services wrote, also while they write on."""

from pathlib import Path

from pydantic import ValidationError

from records.lines import FeedbackRecord, PredictionRecord

Record = PredictionRecord | FeedbackRecord
KINDS: dict[bytes, type[Record]] = {b'{"kind":"prediction"': PredictionRecord, b'{"kind":"feedback"': FeedbackRecord}


class RecordTail:
    """Whole lines below a folder, each once, in the order of their arrival; files may be rotated meanwhile."""

    def __init__(self, folder: Path, *, from_now: bool = False) -> None:
        self._folder = folder
        self._offsets: dict[int, int] = {}
        if from_now:
            self._offsets = {file.stat().st_ino: file.stat().st_size for file in self._files()}

    def read(self) -> list[Record]:
        """What was written since the last call. A line that is not whole yet is left for the next; one that is broken is left out."""
        found: list[Record] = []
        for file in self._files():
            with file.open("rb") as lines:
                inode = file.stat().st_ino
                lines.seek(self._offsets.get(inode, 0))
                content = lines.read()
            whole = content.rpartition(b"\n")[0]
            self._offsets[inode] = self._offsets.get(inode, 0) + (len(whole) + 1 if whole else 0)
            found += [record for record in map(_record, whole.split(b"\n")) if record is not None]
        return sorted(found, key=lambda record: record.time)

    def _files(self) -> list[Path]:
        return sorted(self._folder.rglob("records-*.jsonl"))


def _record(line: bytes) -> Record | None:
    kind = next((kind for start, kind in KINDS.items() if line.startswith(start)), None)
    if kind is None:
        return None
    try:
        return kind.model_validate_json(line)
    except ValidationError:
        return None
