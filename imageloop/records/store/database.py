"""The database of records: store what services wrote, each line once, and forget what is old.

The collector beside a service runs in the service's image, which has neither pandas nor filelock.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import delete, func, select, update

from imageloop.records.record_types import FeedbackRecord, PredictionRecord, decode_embedding
from imageloop.records.store.label_reviews import LabelReviews
from imageloop.records.store.monitoring_history import Decision, MonitoringHistory
from imageloop.records.store.record_queries import RecordQueries, prediction_of
from imageloop.records.store.records_connection import DATABASE_FILE, DatabaseError
from imageloop.records.store.row_digest import digest
from imageloop.records.store.tables import decisions, feedback, positions, predictions, windows

__all__ = ["DATABASE_FILE", "DATABASE_VARIABLE", "Database", "DatabaseError", "Decision"]
DATABASE_VARIABLE = "IMAGELOOP_DATABASE"  # its URL


class Database(RecordQueries, LabelReviews, MonitoringHistory):
    """Predictions, feedback, windows and decisions; one row for each, however often its line is delivered."""

    def position(self, file: str) -> int:
        """Return how many bytes of a file of records are in the database."""
        with self._transaction("read how far records were collected") as connection:
            return int(connection.scalar(select(positions.c.end).where(positions.c.file == file)) or 0)

    def keep(self, file: str, start: int, end: int, records: Iterable[PredictionRecord | FeedbackRecord]) -> bool:
        """Store a chunk and where the next one begins, or nothing; False where another collector was faster.

        Raises: DatabaseError.
        """
        rows = list(records)
        rows_of_predictions = [_prediction_row(row) for row in rows if isinstance(row, PredictionRecord)]
        labels = [_feedback_row(row) for row in rows if isinstance(row, FeedbackRecord)]
        with self._transaction(f"write {len(rows)} records") as connection:
            self._insert(connection, positions, [{"file": file, "end": 0}])
            moved = connection.execute(
                update(positions).where(positions.c.file == file, positions.c.end == start).values(end=end)
            )
            if moved.rowcount != 1:
                return False
            self._insert(connection, predictions, rows_of_predictions)
            self._insert(connection, feedback, labels)
        return True

    def forget_files(self, gone: Sequence[str]) -> None:
        """Forget how far files were read that do not exist any more."""
        with self._transaction("forget files") as connection:
            connection.execute(delete(positions).where(positions.c.file.in_(gone)))

    def files(self) -> list[str]:
        with self._transaction("read which files are known") as connection:
            return list(connection.scalars(select(positions.c.file)))

    def counts(self) -> dict[str, int]:
        with self._transaction("count records") as connection:
            return {
                table.name: int(connection.scalar(select(func.count()).select_from(table)) or 0)
                for table in (predictions, feedback, windows, decisions)
            }

    def forget(self, model_name: str, *, before: float, max_rows: int) -> int:
        """Retention by age and size: remove a model's older predictions with their feedback; how many predictions went.

        Decisions to retrain stay: the next one is compared with them.
        """
        of_model = predictions.c.model_name == model_name
        with self._transaction("remove old records") as connection:
            newest = select(predictions.c.time).where(of_model).order_by(predictions.c.time.desc()).offset(max_rows).limit(1)
            limit = max(before, connection.scalar(newest) or 0.0)
            old = select(predictions.c.request_id).where(of_model, predictions.c.time <= limit)
            connection.execute(delete(feedback).where(feedback.c.request_id.in_(old)))
            connection.execute(delete(feedback).where(feedback.c.time <= before, ~prediction_of(feedback).exists()))
            gone = connection.execute(delete(predictions).where(of_model, predictions.c.time <= limit)).rowcount
            connection.execute(delete(windows).where(windows.c.model_name == model_name, windows.c.end <= before))
            old_decisions = (decisions.c.model_name == model_name, decisions.c.action != "retrain", decisions.c.time <= before)
            connection.execute(delete(decisions).where(*old_decisions))
        return int(gone)


def _prediction_row(record: PredictionRecord) -> dict[str, Any]:
    row = record.model_dump(exclude={"kind", "embedding"})
    return row | {
        "time": record.time.timestamp(),
        "confidence": max(record.probabilities.values()),
        "embedding": decode_embedding(record.embedding) if record.embedding else None,
    }


def _feedback_row(record: FeedbackRecord) -> dict[str, Any]:
    row = record.model_dump(exclude={"kind"})
    identity = json.dumps([record.time.isoformat(), record.request_id, record.ground_truth, record.source])
    return row | {"time": record.time.timestamp(), "feedback_id": record.feedback_id or digest(identity)}
