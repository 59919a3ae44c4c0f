"""Read what services wrote, also while they write on."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from records.lines import FeedbackRecord, PredictionRecord

KINDS = {b'{"kind":"prediction"': PredictionRecord, b'{"kind":"feedback"': FeedbackRecord}


def read_records(folder: Path) -> Iterator[PredictionRecord | FeedbackRecord]:
    """Every whole line below `folder`, file by file; a line that was cut off by a crash is left out."""
    for file in sorted(folder.rglob("records-*.jsonl")):
        with file.open("rb") as lines:
            yield from filter(None, map(_record, lines))


def _record(line: bytes) -> PredictionRecord | FeedbackRecord | None:
    kind = next((kind for start, kind in KINDS.items() if line.startswith(start)), None)
    if kind is None or not line.endswith(b"\n"):
        return None
    try:
        return kind.model_validate_json(line)
    except ValidationError:
        return None


def judged_answers(folder: Path, versions: set[str]) -> dict[str, list[bool]]:
    """Whether each answer with feedback was right, by version, in the order of the answers; the last word on an answer counts."""
    answers: dict[str, PredictionRecord] = {}
    truths: dict[str, FeedbackRecord] = {}
    for record in read_records(folder):
        if isinstance(record, FeedbackRecord):
            known = truths.get(record.request_id)
            if known is None or known.time <= record.time:
                truths[record.request_id] = record
        elif record.model_version in versions:
            answers[record.request_id] = record
    judged: dict[str, list[bool]] = {version: [] for version in versions}
    for answer in sorted(answers.values(), key=lambda answer: answer.time):
        if answer.request_id in truths:
            judged[answer.model_version].append(truths[answer.request_id].true_label == answer.label)
    return judged
