"""What a user decided about labels: accepted ones train without another check, rejected ones count as never sent."""

from collections.abc import Sequence
from typing import Literal

from sqlalchemy import select, update

from imageloop.records.store.records_connection import ROWS_A_STATEMENT, RecordsConnection
from imageloop.records.store.tables import feedback, predictions

Decision = Literal["accepted", "rejected"]


class LabelReviews(RecordsConnection):
    """Decisions of users about labels."""

    def review_source(self, model_name: str, source: str, decision: Decision) -> int:
        """Decide about all labels that a source has sent so far for a model; how many these are."""
        of_model = select(predictions.c.request_id).where(predictions.c.model_name == model_name)
        chosen = (feedback.c.source == source, feedback.c.request_id.in_(of_model))
        with self._transaction("store a review of labels") as connection:
            return int(connection.execute(update(feedback).where(*chosen).values(review=decision)).rowcount)

    def review_requests(self, model_name: str, request_ids: Sequence[str], decision: Decision) -> list[str]:
        """Decide about the labels of these requests; which of them have a label."""
        of_model = select(predictions.c.request_id).where(predictions.c.model_name == model_name)
        labelled: list[str] = []
        with self._transaction("store a review of labels") as connection:
            for start in range(0, len(request_ids), ROWS_A_STATEMENT):
                some = request_ids[start : start + ROWS_A_STATEMENT]
                chosen = (feedback.c.request_id.in_(some), feedback.c.request_id.in_(of_model))
                labelled += connection.scalars(select(feedback.c.request_id).where(*chosen).distinct())
                connection.execute(update(feedback).where(*chosen).values(review=decision))
        return labelled
