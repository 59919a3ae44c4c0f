"""Records in SQL: SQLite by default, PostgreSQL by URL. One row for each answer, however often its line is delivered.

The collector beside a service runs in the service's image, which has neither pandas nor filelock.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Connection, Engine, Select, Table, create_engine, delete, event, func, inspect, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from imageloop.errors import ImageLoopError
from imageloop.records.record_types import FeedbackRecord, PredictionRecord, decode_embedding
from imageloop.records.store.tables import decisions, feedback, positions, predictions, windows

if TYPE_CHECKING:
    import pandas as pd

DATABASE_VARIABLE = "IMAGELOOP_DATABASE"  # its URL
VERSIONS = "imageloop_records_version"  # of the schema; Alembic's usual name is MLflow's, which may live in the same database
FIRST = "0001"  # noted under the usual name by releases of before
BUSY_SECONDS = 30
ROWS_A_STATEMENT = 500
LABELLED = predictions.join(feedback, feedback.c.request_id == predictions.c.request_id)
WORDS = (
    feedback.c.feedback_id,
    feedback.c.true_label,
    feedback.c.source.label("feedback_source"),
    feedback.c.time.label("feedback_time"),
)
INSERTS: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class DatabaseError(ImageLoopError):
    """A database that cannot be used."""


@dataclass(frozen=True)
class Decision:
    """`outcome` is None while it is being carried out."""

    decision_id: str
    time: float
    action: str
    reason: str
    figures: dict[str, Any]
    outcome: str | None = None


class Database:
    """Opened at its newest schema."""

    def __init__(self, url: str) -> None:
        """Raises: DatabaseError for one that does not answer, or is of a kind that is not known."""
        try:
            self._engine = create_engine(url, pool_pre_ping=True)
            if self._engine.dialect.name not in INSERTS:
                raise DatabaseError(f"wanted a URL of SQLite or PostgreSQL, found '{self._engine.dialect.name}'")
            if self._engine.dialect.name == "sqlite":
                _prepare_sqlite(self._engine)
            self._migrate()
        except SQLAlchemyError as error:
            raise DatabaseError(f"wanted the database of records, found none that answers: {_first_line(error)}") from error
        except CommandError as error:
            raise DatabaseError(
                f"wanted the database of records with a schema that this release knows, found another ({error}); use the newer release"
            ) from error

    @classmethod
    def of_folder(cls, folder: Path) -> "Database":
        """SQLite. Raises: DatabaseError."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatabaseError(
                f"wanted a folder for the database of records, found none at '{folder}': {error.strerror}"
            ) from error
        return cls(f"sqlite:///{folder / 'records.db'}")

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _told(self, wanted: str) -> Iterator[Connection]:
        """A transaction. Raises: DatabaseError where the database fails in it."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise DatabaseError(f"wanted to {wanted}, could not: {_first_line(error)}") from error

    def position(self, file: str) -> int:
        """How many bytes of a file of lines are in the database."""
        with self._told("read how far records were collected") as connection:
            return int(connection.scalar(select(positions.c.end).where(positions.c.file == file)) or 0)

    def keep(self, file: str, start: int, end: int, records: Iterable[PredictionRecord | FeedbackRecord]) -> bool:
        """All of a chunk or nothing, with the place where the next one begins; False where another collector was faster.

        Raises: DatabaseError.
        """
        rows = list(records)
        answers = [_prediction_row(row) for row in rows if isinstance(row, PredictionRecord)]
        truths = [_feedback_row(row) for row in rows if isinstance(row, FeedbackRecord)]
        with self._told(f"write {len(rows)} records") as connection:
            self._insert(connection, positions, [{"file": file, "end": 0}])
            moved = connection.execute(
                update(positions).where(positions.c.file == file, positions.c.end == start).values(end=end)
            )
            if moved.rowcount != 1:
                return False
            self._insert(connection, predictions, answers)
            self._insert(connection, feedback, truths)
        return True

    def forget_files(self, gone: Sequence[str]) -> None:
        """Files that are no more need no place."""
        with self._told("forget files") as connection:
            connection.execute(delete(positions).where(positions.c.file.in_(gone)))

    def files(self) -> list[str]:
        with self._told("read which files are known") as connection:
            return list(connection.scalars(select(positions.c.file)))

    def predictions(
        self,
        model_name: str,
        *,
        version: str | None = None,
        since: float = 0.0,
        until: float = float("inf"),
        newest: int | None = None,
    ) -> "pd.DataFrame":
        """Answers in the order of time, a row each; `embedding` as float16 bytes or None."""
        wanted = select(predictions)
        return self._answers(
            wanted if version is None else wanted.where(predictions.c.model_version == version), model_name, since, until, newest
        )

    def answers_to(self, request_ids: Sequence[str]) -> "pd.DataFrame":
        """Those of `predictions` that answer these requests."""
        import pandas as pd

        rows: list[Any] = []
        with self._told("read answers") as connection:
            for start in range(0, len(request_ids), ROWS_A_STATEMENT):
                some = request_ids[start : start + ROWS_A_STATEMENT]
                rows += connection.execute(select(predictions).where(predictions.c.request_id.in_(some)))
        return pd.DataFrame(rows, columns=predictions.columns.keys())

    def answers(self, model_name: str, newest: int, since: float = 0.0) -> "pd.DataFrame":
        """What was answered when, of the newest: the few columns that are asked of many rows."""
        columns = (predictions.c[name] for name in ("request_id", "time", "model_version", "label", "confidence"))
        return self._answers(select(*columns), model_name, since, float("inf"), newest)

    def _answers(self, wanted: Select[Any], model_name: str, since: float, until: float, newest: int | None) -> "pd.DataFrame":
        import pandas as pd

        wanted = wanted.where(predictions.c.model_name == model_name, predictions.c.time > since)
        if until != float("inf"):
            wanted = wanted.where(predictions.c.time <= until)
        wanted = wanted.order_by(predictions.c.time.desc(), predictions.c.request_id)
        with self._told("read answers") as connection:
            table = pd.read_sql(wanted.limit(newest) if newest else wanted, connection)
        return table.iloc[::-1].reset_index(drop=True)

    def labelled(self, model_name: str, *, version: str | None = None, newest: int | None = None) -> "pd.DataFrame":
        """Answers whose truth is known, with `true_label`, `feedback_source` and `feedback_time`: the last word on each; `first_time` is that of the first."""
        told = select(feedback.c.request_id).where(feedback.c.request_id == predictions.c.request_id)
        chosen = select(predictions.c.request_id).where(predictions.c.model_name == model_name, told.exists())
        if version is not None:
            chosen = chosen.where(predictions.c.model_version == version)
        if newest is not None:
            chosen = chosen.order_by(predictions.c.time.desc(), predictions.c.request_id).limit(newest)
        return self._last_words(select(predictions, *WORDS).where(predictions.c.request_id.in_(chosen)))

    def labels(self, model_name: str) -> "pd.DataFrame":
        """The last word on each answer whose truth is known, and few columns of the answer; `teaches`: whether it has an embedding."""
        columns = (predictions.c[name] for name in ("request_id", "time", "model_version"))
        teaches = predictions.c.embedding.is_not(None).label("teaches")
        return self._last_words(select(*columns, teaches, *WORDS).where(predictions.c.model_name == model_name))

    def _last_words(self, wanted: Select[Any]) -> "pd.DataFrame":
        import pandas as pd

        ordered = wanted.select_from(LABELLED).order_by(feedback.c.time, feedback.c.feedback_id)
        with self._told("read labels") as connection:
            table = pd.read_sql(ordered, connection)
        table["first_time"] = table.groupby("request_id")["feedback_time"].transform("min")
        return table.drop_duplicates("request_id", keep="last").sort_values("time", ignore_index=True)

    def last_words(self, model_name: str) -> list[str]:
        """The ids of the feedback that counts, in the order of the answers; of `labelled`, without what makes that large."""
        wanted = (
            select(feedback.c.request_id, feedback.c.feedback_id)
            .select_from(LABELLED)
            .where(predictions.c.model_name == model_name)
            .order_by(predictions.c.time, feedback.c.time, feedback.c.feedback_id)
        )
        with self._told("read labels") as connection:
            return list({row.request_id: row.feedback_id for row in connection.execute(wanted)}.values())

    def records(self, model_name: str, since: float) -> list[PredictionRecord | FeedbackRecord]:
        """What was answered after `since` (Unix seconds) and what was said of answers, without statistics and embeddings.

        Raises: DatabaseError.
        """
        columns = [column for column in predictions.c if column.name not in ("statistics", "embedding")]
        answered = select(*columns).where(predictions.c.model_name == model_name, predictions.c.time > since)
        with self._told("read records") as connection:
            answers = connection.execute(answered).mappings().all()
            truths = connection.execute(select(feedback).where(feedback.c.time > since)).mappings().all()
        found = [PredictionRecord.model_validate(dict(row)) for row in answers]
        return found + [FeedbackRecord.model_validate(dict(row)) for row in truths]

    def orphans(self) -> int:
        """Feedback for answers that nobody gave, or whose records have not come yet."""
        unknown = select(func.count()).select_from(feedback).where(~_answer_of(feedback).exists())
        with self._told("count feedback") as connection:
            return int(connection.scalar(unknown) or 0)

    def counts(self) -> dict[str, int]:
        with self._told("count records") as connection:
            return {
                table.name: int(connection.scalar(select(func.count()).select_from(table)) or 0)
                for table in (predictions, feedback, windows, decisions)
            }

    def keep_window(self, model_name: str, version: str, start: float, end: float, figures: dict[str, Any]) -> None:
        """One that is there already stays as it is."""
        window_id = _digest(f"{model_name}-{version}-{end:.6f}")
        row = {"window_id": window_id, "model_name": model_name, "model_version": version, "start": start, "end": end}
        with self._told("keep a window") as connection:
            self._insert(connection, windows, [row | {"figures": figures}])

    def windows(self, model_name: str, newest: int, version: str | None = None) -> list[dict[str, Any]]:
        """The figures of the newest windows, the oldest of them first, with `version`, `start` and `end`."""
        wanted = select(windows).where(windows.c.model_name == model_name).order_by(windows.c.end.desc()).limit(newest)
        if version is not None:
            wanted = wanted.where(windows.c.model_version == version)
        with self._told("read windows") as connection:
            rows = connection.execute(wanted).mappings().all()
        return [
            row["figures"] | {"version": row["model_version"], "start": row["start"], "end": row["end"]} for row in reversed(rows)
        ]

    def decide(self, model_name: str, decision: Decision) -> None:
        row = vars(decision) | {"model_name": model_name}
        with self._told("keep a decision") as connection:
            self._insert(connection, decisions, [row])

    def conclude(self, decision_id: str, outcome: str) -> None:
        """Say what came of a decision."""
        with self._told("conclude a decision") as connection:
            connection.execute(update(decisions).where(decisions.c.decision_id == decision_id).values(outcome=outcome))

    def decisions(self, model_name: str, newest: int, action: str | None = None) -> list[Decision]:
        """The newest, of one kind or all, the oldest of them first."""
        wanted = select(decisions).where(decisions.c.model_name == model_name).order_by(decisions.c.time.desc()).limit(newest)
        if action is not None:
            wanted = wanted.where(decisions.c.action == action)
        with self._told("read decisions") as connection:
            rows = connection.execute(wanted).mappings().all()
        names = Decision.__dataclass_fields__
        return [Decision(**{name: row[name] for name in names}) for row in reversed(rows)]

    def forget(self, model_name: str, *, before: float, max_rows: int) -> int:
        """Retention by age and size: remove a model's older answers with their feedback; how many answers went.

        Retrainings stay: the next one is held against them.
        """
        of_model = predictions.c.model_name == model_name
        with self._told("remove old records") as connection:
            newest = select(predictions.c.time).where(of_model).order_by(predictions.c.time.desc()).offset(max_rows).limit(1)
            limit = max(before, connection.scalar(newest) or 0.0)
            old = select(predictions.c.request_id).where(of_model, predictions.c.time <= limit)
            connection.execute(delete(feedback).where(feedback.c.request_id.in_(old)))
            connection.execute(delete(feedback).where(feedback.c.time <= before, ~_answer_of(feedback).exists()))
            gone = connection.execute(delete(predictions).where(of_model, predictions.c.time <= limit)).rowcount
            connection.execute(delete(windows).where(windows.c.model_name == model_name, windows.c.end <= before))
            told = (decisions.c.model_name == model_name, decisions.c.action != "retrain", decisions.c.time <= before)
            connection.execute(delete(decisions).where(*told))
        return int(gone)

    def _insert(self, connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
        """Rows that are there already stay as they are."""
        statement = INSERTS[self._engine.dialect.name](table).on_conflict_do_nothing()
        for start in range(0, len(rows), ROWS_A_STATEMENT):
            connection.execute(statement, rows[start : start + ROWS_A_STATEMENT])

    def _migrate(self) -> None:
        """One process at a time, on SQLite by a lock beside the file, on PostgreSQL by its own."""
        file = self._engine.url.database
        if self._engine.dialect.name == "sqlite" and file and file != ":memory:":
            from filelock import FileLock

            with FileLock(f"{file}.lock"):
                self._upgrade()
        else:
            self._upgrade()

    def _upgrade(self) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with self._engine.begin() as connection:
            if self._engine.dialect.name == "postgresql":
                connection.execute(select(func.pg_advisory_xact_lock(7_220_914)))
            config.attributes |= {"connection": connection, "version_table": VERSIONS}
            known = inspect(connection).get_table_names()
            if VERSIONS not in known and predictions.name in known:
                command.stamp(config, FIRST)
            command.upgrade(config, "head")


def _answer_of(told: Table) -> Select[Any]:
    """Of a row of `told`; its database finds it by the key, however many there are."""
    return select(predictions.c.request_id).where(predictions.c.request_id == told.c.request_id).correlate(told)


def _prediction_row(record: PredictionRecord) -> dict[str, Any]:
    row = record.model_dump(exclude={"kind", "embedding"})
    return row | {
        "time": record.time.timestamp(),
        "confidence": max(record.probabilities.values()),
        "embedding": decode_embedding(record.embedding) if record.embedding else None,
    }


def _feedback_row(record: FeedbackRecord) -> dict[str, Any]:
    row = record.model_dump(exclude={"kind"})
    made = json.dumps([record.time.isoformat(), record.request_id, record.true_label, record.source])
    return row | {"time": record.time.timestamp(), "feedback_id": record.feedback_id or _digest(made)}


def _digest(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()


def _prepare_sqlite(engine: Engine) -> None:
    """Readers beside a writer, and patience while another process writes."""

    def configure(connection: Any, _record: Any) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", f"busy_timeout={BUSY_SECONDS * 1000}"):
            connection.execute(f"PRAGMA {pragma}")

    event.listen(engine, "connect", configure)


def _first_line(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).splitlines()[0]
