"""Predictions and their labels, read from the database as tables."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Select, String, Table, cast, func, or_, select

from imageloop.records.record_types import FeedbackRecord, PredictionRecord
from imageloop.records.store.records_connection import ROWS_A_STATEMENT, RecordsConnection
from imageloop.records.store.tables import ACCEPTED, REJECTED, feedback, predictions

if TYPE_CHECKING:
    import pandas as pd

LABELLED = predictions.join(feedback, feedback.c.request_id == predictions.c.request_id)
LABEL_COLUMNS = (
    feedback.c.feedback_id,
    feedback.c.ground_truth,
    feedback.c.source.label("feedback_source"),
    feedback.c.time.label("feedback_time"),
    feedback.c.review,
)
# Of a data set of a thousand classes the probabilities of a label are 200 KB in memory, and nothing judges labels by them.
NOT_OF_LABELS = ("probabilities", "latency_ms", "source", "predictor", "caller_id")
NOT_REJECTED = or_(feedback.c.review.is_(None), feedback.c.review != REJECTED)


class RecordQueries(RecordsConnection):
    """Queries for predictions and labels."""

    def predictions(
        self,
        model_name: str,
        *,
        version: str | None = None,
        since: float = 0.0,
        until: float = float("inf"),
        newest: int | None = None,
    ) -> "pd.DataFrame":
        """Predictions in the order of time, a row each; `embedding` as float16 bytes or None."""
        query = select(predictions)
        if version is not None:
            query = query.where(predictions.c.model_version == version)
        return self._read_predictions(query, model_name, since, until, newest)

    def predictions_for(self, request_ids: Sequence[str]) -> "pd.DataFrame":
        """The predictions of these requests, in their order."""
        import pandas as pd

        rows: list[Any] = []
        with self._transaction("read predictions") as connection:
            for start in range(0, len(request_ids), ROWS_A_STATEMENT):
                some = request_ids[start : start + ROWS_A_STATEMENT]
                rows += connection.execute(select(predictions).where(predictions.c.request_id.in_(some)))
        table = pd.DataFrame(rows, columns=predictions.columns.keys()).set_index("request_id", drop=False)
        return table.loc[[one for one in request_ids if one in table.index]].reset_index(drop=True)

    def measurable(self, model_name: str, version: str, since: float, newest: int) -> list[str]:
        """The ids of the newest predictions of a version that have an embedding and statistics, the oldest of them first."""
        query = (
            select(predictions.c.request_id)
            .where(predictions.c.model_name == model_name, predictions.c.model_version == version, predictions.c.time > since)
            .where(predictions.c.embedding.is_not(None), cast(predictions.c.statistics, String).not_in(("null", "")))
            .order_by(predictions.c.time.desc(), predictions.c.request_id)
            .limit(newest)
        )
        with self._transaction("read predictions") as connection:
            return list(connection.scalars(query))[::-1]

    def recent_predictions(self, model_name: str, newest: int, since: float = 0.0) -> "pd.DataFrame":
        """The newest predictions, with few columns, since many rows are asked for."""
        columns = (predictions.c[name] for name in ("request_id", "time", "model_version", "label", "confidence"))
        return self._read_predictions(select(*columns), model_name, since, float("inf"), newest)

    def latencies(self, model_name: str, since: float, newest: int) -> "pd.DataFrame":
        """The newest predictions after a time, with version and latency."""
        columns = (predictions.c[name] for name in ("request_id", "time", "model_version", "latency_ms"))
        return self._read_predictions(select(*columns), model_name, since, float("inf"), newest)

    def _read_predictions(
        self, query: Select[Any], model_name: str, since: float, until: float, newest: int | None
    ) -> "pd.DataFrame":
        import pandas as pd

        query = query.where(predictions.c.model_name == model_name, predictions.c.time > since)
        if until != float("inf"):
            query = query.where(predictions.c.time <= until)
        query = query.order_by(predictions.c.time.desc(), predictions.c.request_id)
        with self._transaction("read predictions") as connection:
            table = pd.read_sql(query.limit(newest) if newest else query, connection)
        return table.iloc[::-1].reset_index(drop=True)

    def labelled(self, model_name: str, *, version: str | None = None, newest: int | None = None) -> "pd.DataFrame":
        """Predictions with a label, without their probabilities, and the newest label of each that was not rejected: `ground_truth`,
        `feedback_source`, `feedback_time`, `review`; `first_time` of the first.
        """
        has_feedback = select(feedback.c.request_id).where(feedback.c.request_id == predictions.c.request_id, NOT_REJECTED)
        chosen = select(predictions.c.request_id).where(predictions.c.model_name == model_name, has_feedback.exists())
        if version is not None:
            chosen = chosen.where(predictions.c.model_version == version)
        if newest is not None:
            chosen = chosen.order_by(predictions.c.time.desc(), predictions.c.request_id).limit(newest)
        columns = [column for column in predictions.c if column.name not in NOT_OF_LABELS]
        return self._newest_labels(select(*columns, *LABEL_COLUMNS).where(predictions.c.request_id.in_(chosen)))

    def labels(self, model_name: str) -> "pd.DataFrame":
        """The newest label of each prediction, with few columns of the prediction; `teaches`: whether it has an embedding."""
        columns = (predictions.c[name] for name in ("request_id", "time", "model_version"))
        teaches = predictions.c.embedding.is_not(None).label("teaches")
        return self._newest_labels(select(*columns, teaches, *LABEL_COLUMNS).where(predictions.c.model_name == model_name))

    def _newest_labels(self, query: Select[Any]) -> "pd.DataFrame":
        import pandas as pd

        ordered = query.select_from(LABELLED).where(NOT_REJECTED).order_by(feedback.c.time, feedback.c.feedback_id)
        with self._transaction("read labels") as connection:
            table = pd.read_sql(ordered, connection)
        accepted = table[table["review"] == ACCEPTED].drop_duplicates("request_id", keep="last")
        holds = table["request_id"].map(accepted.set_index("request_id")["feedback_source"])
        table = table[holds.isna() | (table["feedback_source"] == holds)].copy()  # no other source overrules what a user accepted
        table["first_time"] = table.groupby("request_id")["feedback_time"].transform("min")
        return table.drop_duplicates("request_id", keep="last").sort_values("time", ignore_index=True)

    def newest_label_ids(self, model_name: str) -> list[str]:
        """The ids of the newest label of each prediction and what was decided about it, in the order of the predictions."""
        query = (
            select(feedback.c.request_id, feedback.c.feedback_id, feedback.c.review)
            .select_from(LABELLED)
            .where(predictions.c.model_name == model_name, NOT_REJECTED)
            .order_by(predictions.c.time, feedback.c.time, feedback.c.feedback_id)
        )
        with self._transaction("read labels") as connection:
            newest = {row.request_id: row for row in connection.execute(query)}
        return [row.feedback_id if row.review is None else f"{row.feedback_id} {row.review}" for row in newest.values()]

    def records(self, model_name: str, since: float) -> list[PredictionRecord | FeedbackRecord]:
        """Predictions and labels after `since` (Unix seconds), without statistics and embeddings.

        Raises: DatabaseError.
        """
        columns = [column for column in predictions.c if column.name not in ("statistics", "embedding")]
        query = select(*columns).where(predictions.c.model_name == model_name, predictions.c.time > since)
        with self._transaction("read records") as connection:
            rows = connection.execute(query).mappings().all()
            labels = connection.execute(select(feedback).where(feedback.c.time > since)).mappings().all()
        found = [PredictionRecord.model_validate(dict(row)) for row in rows]
        return found + [FeedbackRecord.model_validate(dict(row)) for row in labels]

    def orphans(self) -> int:
        """Count the labels of predictions that do not exist, or whose records have not arrived yet."""
        unknown = select(func.count()).select_from(feedback).where(~prediction_of(feedback).exists())
        with self._transaction("count feedback") as connection:
            return int(connection.scalar(unknown) or 0)


def prediction_of(table: Table) -> Select[Any]:
    """The prediction of a row of `table`; the database finds it by its key."""
    return select(predictions.c.request_id).where(predictions.c.request_id == table.c.request_id).correlate(table)
