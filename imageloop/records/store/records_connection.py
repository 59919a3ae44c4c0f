"""Open the database of records at its newest schema: SQLite by default, PostgreSQL by URL.

The collector beside a service runs in the service's image, which has neither pandas nor filelock.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Connection, Engine, Table, create_engine, event, func, inspect, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from imageloop.errors import ImageLoopError
from imageloop.records.store.tables import predictions

VERSIONS = "imageloop_records_version"  # of the schema; Alembic's usual name is MLflow's, which may live in the same database
FIRST = "0001"  # noted under the usual name by earlier releases
BUSY_SECONDS = 30
ROWS_A_STATEMENT = 500
INSERTS: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
DATABASE_FILE = "records.db"


class DatabaseError(ImageLoopError):
    """A database that cannot be used."""


class RecordsConnection:
    """A database at its newest schema. It is migrated when this process opens it first."""

    _migrated: set[str] = set()  # noqa: RUF012 - of the process, by URL: a collector opens the database again and again

    def __init__(self, url: str) -> None:
        """Raises: DatabaseError for a database that does not respond, is of an unknown kind, or was migrated by a newer release."""
        try:
            self._engine = create_engine(url, pool_pre_ping=True)
            if self._engine.dialect.name not in INSERTS:
                raise DatabaseError(f"expected a URL of SQLite or PostgreSQL, got '{self._engine.dialect.name}'")
            if self._engine.dialect.name == "sqlite":
                _prepare_sqlite(self._engine)
            self._migrate(url)
        except SQLAlchemyError as error:
            raise DatabaseError(f"the database of records does not respond: {first_line(error)}") from error
        except CommandError as error:
            raise DatabaseError(
                f"the database of records was migrated by a newer release, and this one cannot read it ({error}); use the newer release"
            ) from error

    @classmethod
    def of_folder(cls, folder: Path) -> Self:
        """SQLite. Raises: DatabaseError."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatabaseError(f"no folder for the database of records can be made at '{folder}': {error.strerror}") from error
        return cls(f"sqlite:///{folder / DATABASE_FILE}")

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _transaction(self, action: str) -> Iterator[Connection]:
        """A transaction. Raises: DatabaseError where the database fails in it."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise DatabaseError(f"could not {action}: {first_line(error)}") from error

    def _insert(self, connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
        """Rows that are there already stay as they are."""
        statement = INSERTS[self._engine.dialect.name](table).on_conflict_do_nothing()
        for start in range(0, len(rows), ROWS_A_STATEMENT):
            connection.execute(statement, rows[start : start + ROWS_A_STATEMENT])

    def _migrate(self, url: str) -> None:
        """Once a process, one process at a time: on SQLite by a lock beside the file, on PostgreSQL by its own."""
        if url in self._migrated and inspect(self._engine).has_table(VERSIONS):
            return
        file = self._engine.url.database
        if self._engine.dialect.name == "sqlite" and file and file != ":memory:":
            from filelock import FileLock

            with FileLock(f"{file}.lock"):
                self._upgrade()
        else:
            self._upgrade()
        self._migrated.add(url)

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


def _prepare_sqlite(engine: Engine) -> None:
    """Readers beside a writer, and patience while another process writes."""

    def configure(connection: Any, _record: Any) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", f"busy_timeout={BUSY_SECONDS * 1000}"):
            connection.execute(f"PRAGMA {pragma}")

    event.listen(engine, "connect", configure)


def first_line(error: Exception) -> str:
    """The error message of the database, in one line."""
    return str(getattr(error, "orig", None) or error).splitlines()[0]
