"""See that an SQLite database of ZenML, of MLflow or of records can be used, before the library waits for it or fails in many lines."""

import importlib.util
import sqlite3
from pathlib import Path

from imageloop.errors import ImageLoopError

SCHEME = "sqlite:///"
WAIT_SECONDS = 5.0
NAMES = {"zenml": "ZenML", "mlflow": "MLflow", "records": "the monitor"}
MIGRATIONS = {"zenml": "zen_stores/migrations/versions", "mlflow": "store/db_migrations/versions"}  # of each package


class DatabaseFileError(ImageLoopError):
    """A database file that cannot be used as it is."""


def sqlite_file(address: str) -> Path | None:
    """The file of an SQLite address; None for any other address."""
    return Path(address.removeprefix(SCHEME)) if address.startswith(SCHEME) else None


def check_sqlite_file(file: Path, package: str, remedy: str) -> None:
    """Refuse a database that is locked, damaged, read-only, or of a newer release of its package; a missing one is not our matter.

    `remedy`: how to get a damaged one back.
    Raises: DatabaseFileError, after at most 5 s.
    """
    if not file.is_file():
        return
    try:
        revisions = _revisions_after_lock(file)
    except sqlite3.OperationalError as error:
        raise _operational(file, package, error) from error
    except sqlite3.DatabaseError as error:
        raise DatabaseFileError(
            f"expected {NAMES[package]}'s database at '{file}', got a damaged file ({error}); {remedy}"
        ) from error
    known = _known_revisions(package)
    unknown = [revision for revision in revisions if known and revision not in known]
    if unknown:
        raise DatabaseFileError(
            f"expected a database that {NAMES[package]} of this environment knows, got one that a newer release migrated ('{file}' is at "
            f"{unknown[0]}); use the environment of that release, or restore a backup of before"
        )


def _revisions_after_lock(file: Path) -> list[str]:
    """The migrations of a database, once it can be written."""
    connection = sqlite3.connect(file, timeout=WAIT_SECONDS, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        rows = connection.execute("SELECT version_num FROM alembic_version") if "alembic_version" in tables else ()
        revisions = [str(revision) for (revision,) in rows]
        connection.execute("ROLLBACK")
        return revisions
    finally:
        connection.close()


def _operational(file: Path, package: str, error: sqlite3.OperationalError) -> DatabaseFileError:
    if "locked" in str(error):
        return DatabaseFileError(
            f"expected {NAMES[package]}'s database at '{file}', got it locked for {WAIT_SECONDS:g} s by {_holders(file)}; wait for it, or end it"
        )
    return DatabaseFileError(
        f"expected to write {NAMES[package]}'s database at '{file}', got: {error}; see who may write it and whether the disk works"
    )


def _holders(file: Path) -> str:
    """The processes that have a file open, as far as this user may see them."""
    import psutil

    found = []
    for process in psutil.process_iter(["pid", "name"]):
        try:
            if any(Path(opened.path) == file.resolve() for opened in process.open_files()):
                found.append(f"process {process.pid} ({process.name()})")
        except (psutil.Error, OSError):
            continue
    return " and ".join(found[:3]) or "another process"


def _known_revisions(package: str) -> set[str]:
    """The migrations of the installed package, from the names of their files; empty where they cannot be listed or are ours."""
    if package not in MIGRATIONS:
        return set()
    found = importlib.util.find_spec(package)
    folder = (
        Path(found.submodule_search_locations[0], MIGRATIONS[package]) if found and found.submodule_search_locations else None
    )
    if folder is None or not folder.is_dir():
        return set()
    return {path.stem.partition("_")[0] for path in folder.glob("*.py")}
