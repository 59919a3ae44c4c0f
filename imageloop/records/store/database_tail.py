"""Follow the records of pods in the database, each once, as `imageloop.records.record_reader.RecordTail` follows files."""

import logging
import time

from imageloop.records.record_reader import Record
from imageloop.records.record_types import FeedbackRecord
from imageloop.records.store.database import Database, DatabaseError

logger = logging.getLogger(__name__)
LATE_SECONDS = 60.0  # collectors store records some seconds late, each collector at its own time


class DatabaseTail:
    """Reads the records that are written after it was made, by the writers' clocks."""

    def __init__(self, database: Database, model_name: str) -> None:
        self._database, self._model_name = database, model_name
        self._begun = self._newest = time.time()
        self._known: set[str] = set()

    def read(self) -> list[Record]:
        """The records since the last call, in the order of time; none while the database does not respond."""
        try:
            found = self._database.records(self._model_name, max(self._begun, self._newest - LATE_SECONDS))
        except DatabaseError as error:
            logger.warning("%s", error)
            return []
        new = sorted((record for record in found if _key(record) not in self._known), key=lambda record: record.time)
        self._known |= {_key(record) for record in new}
        self._newest = max([self._newest, *(record.time.timestamp() for record in new)])
        return new


def _key(record: Record) -> str:
    return record.feedback_id if isinstance(record, FeedbackRecord) else record.request_id
