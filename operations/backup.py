"""Back a site up into one archive, and restore it: MLflow, ZenML, records, what was deployed, the key that verifies.

Records that are not in the database yet and retained images are in it too. MLflow and ZenML store absolute paths, which a restore
under another path rewrites. Images are left to DVC, and secrets are left out.
"""

import contextlib
import json
import logging
import os
import re
import shutil
import sqlite3
import tarfile
import tempfile
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from imageloop.adapters.active_stack import zenml_folder
from imageloop.adapters.zenml_client import register_stacks
from imageloop.atomic_files import replacing
from imageloop.errors import ImageLoopError, SettingsError
from imageloop.workspace_paths import Workspace

logger = logging.getLogger(__name__)
FORMAT = 1
DATABASES = (".imageloop/mlflow.db", ".imageloop/records/records.db")
FOLDERS = (".imageloop/mlartifacts", ".imageloop/artifacts")
FILES = (".imageloop/keys/signing.pub", ".imageloop/raw.json", ".imageloop/deployed.json")
PATTERNS = (
    ".imageloop/raw-*.json",
    ".imageloop/deployed-*.json",
    "data/*.parquet",
    "data/*.dvc",
    "data/sets/*/*.parquet",
    "data/sets/*/*.dvc",
)
RECORDS = ".imageloop/serving/records"
ZENML_DATABASE = Path("local_stores", "default_zen_store", "zenml.db")
ZENML_CONFIG = "config.yaml"
# Files that hold paths of this machine. A package holds none, and a change would break its signature.
WITH_PATHS = ("MLmodel", "record.json", "record.html", "description.json", "deployed*.json", ZENML_CONFIG)


@dataclass(frozen=True)
class BackupResult:
    """The archive that was written, and what it leaves out, a sentence each."""

    archive: str
    size_bytes: int
    left_out: list[str]


@dataclass(frozen=True)
class RestoredSite:
    """A site that was restored from an archive. `files`: how many were restored."""

    archive: str
    made_at: str
    files: int
    home: str


def back_up(target: Path) -> BackupResult:
    """Write a tar.gz that is whole or absent, while the site goes on working.

    Raises: ImageLoopError where there is nothing to back up.
    """
    workspace, zenml = Workspace.current(), zenml_folder()
    if not (workspace.home / DATABASES[0]).exists():
        raise ImageLoopError(
            f"there is nothing to back up: expected a registry, got none in '{workspace.home}'; run: python run.py train"
        )
    left_out = [] if (zenml / ZENML_DATABASE).exists() else ["ZenML's store: it is a server's; back up its database"]
    if os.environ.get("IMAGELOOP_DATABASE"):
        left_out.append("records: they are in the database that IMAGELOOP_DATABASE names; back it up with its own tools")
    with (
        tempfile.TemporaryDirectory() as scratch,
        replacing(target) as aside,
        tarfile.open(aside, "w:gz", compresslevel=1) as archive,
    ):
        described = {"format": FORMAT, "home": str(workspace.home), "zenml": str(zenml), "made_at": datetime.now(UTC).isoformat()}
        Path(scratch, "backup.json").write_text(json.dumps(described))
        archive.add(Path(scratch, "backup.json"), "backup.json")
        # Records before their database: what is collected meanwhile is in both, and is stored once.
        _add_records(archive, workspace.home, Path(scratch))
        for name in DATABASES:
            _add_database(archive, workspace.home / name, f"home/{name}", Path(scratch))
        _add_database(archive, zenml / ZENML_DATABASE, f"zenml/{ZENML_DATABASE}", Path(scratch))
        if (zenml / ZENML_CONFIG).exists():
            archive.add(zenml / ZENML_CONFIG, f"zenml/{ZENML_CONFIG}")
        files = [file for pattern in PATTERNS for file in sorted(workspace.home.glob(pattern))]
        for path in [*(workspace.home / name for name in (*FOLDERS, *FILES)), *files]:
            if path.exists():
                archive.add(path, f"home/{path.relative_to(workspace.home)}")
    return BackupResult(str(target), target.stat().st_size, left_out)


def restore_backup(source: Path) -> RestoredSite:
    """Restore an archive to this site, which must be empty, and register the stacks for it.

    Raises: SettingsError for an archive that is none, or a site that is not empty.
    """
    workspace, zenml = Workspace.current(), zenml_folder()
    _refuse_full_site(workspace, zenml)
    with tempfile.TemporaryDirectory(dir=_existing_parent(workspace.home)) as scratch:
        folder = Path(scratch)
        described = _unpack(source, folder)
        _move_paths(folder, {described["home"]: str(workspace.home), described["zenml"]: str(zenml)})
        moved = _put_in_place(folder / "home", workspace.home) + _put_in_place(folder / "zenml", zenml)
    register_stacks()
    return RestoredSite(str(source), described["made_at"], moved, str(workspace.home))


def _add_records(archive: tarfile.TarFile, home: Path, scratch: Path) -> None:
    """Files that grow, or that a collector removes, while they are read."""
    for file in sorted(path for path in (home / RECORDS).rglob("*") if path.is_file()):
        with contextlib.suppress(FileNotFoundError):
            shutil.copy2(file, scratch / "records")
            archive.add(scratch / "records", f"home/{file.relative_to(home)}")


def _add_database(archive: tarfile.TarFile, file: Path, name: str, scratch: Path) -> None:
    """Add a snapshot of a database, also while others write."""
    if not file.exists():
        return
    copy = scratch / "database"
    copy.unlink(missing_ok=True)
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    archive.add(copy, name)


def _refuse_full_site(workspace: Workspace, zenml: Path) -> None:
    """`make setup` leaves stores without a run; those may go."""
    for file, table, variable in (
        (workspace.home / DATABASES[0], "runs", "IMAGELOOP_HOME"),
        (workspace.home / DATABASES[1], "predictions", "IMAGELOOP_HOME"),
        (zenml / ZENML_DATABASE, "pipeline_run", "ZENML_CONFIG_PATH"),
    ):
        if num_rows := _count(file, table):
            raise SettingsError(
                f"expected an empty site, got {num_rows} rows of '{table}' in '{file}'; name another folder in {variable}"
            )


def _count(file: Path, table: str) -> int:
    if not file.exists():
        return 0
    with closing(sqlite3.connect(file)) as connection:
        found = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = ?", (table,)).fetchone()[0]
        return int(connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]) if found else 0  # noqa: S608  # nosec B608


def _unpack(source: Path, folder: Path) -> dict[str, Any]:
    try:
        with tarfile.open(source, "r:gz") as archive:
            archive.extractall(folder, filter="data")
        described: dict[str, Any] = json.loads((folder / "backup.json").read_text())
    except (OSError, tarfile.TarError, ValueError, EOFError) as error:
        raise SettingsError(f"'{source}' is no archive of `python run.py backup`: {error}") from error
    if described.get("format") != FORMAT:
        raise SettingsError(
            f"expected an archive of format {FORMAT}, got {described.get('format')}; use the version that made it"
        )
    return described


def _move_paths(folder: Path, places: dict[str, str]) -> None:
    """Replace paths of the old folder by the new one. A path that only has the same prefix is left alone."""
    old = "|".join(re.escape(place) for place in sorted(places, key=len, reverse=True))
    known = re.compile(rf"(?<![\w.-])({old})(?![\w-]|\.\w)")

    def moved(text: str) -> str:
        return known.sub(lambda found: places[found[0]], text)

    for file in folder.rglob("*.db"):
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.create_function("moved", 1, moved, deterministic=True)
            _move_in_tables(connection, list(places))
    for pattern in WITH_PATHS:
        for file in folder.rglob(pattern):
            file.write_text(moved(file.read_text()))


def _move_in_tables(connection: sqlite3.Connection, places: list[str]) -> None:
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in tables:
        for _, column, kind, *_ in connection.execute(f'PRAGMA table_info("{table}")').fetchall():
            if kind.upper().startswith(("TEXT", "VARCHAR", "CHAR", "JSON")):
                conditions = " OR ".join(f'instr("{column}", ?) > 0' for _ in places)
                connection.execute(
                    f'UPDATE "{table}" SET "{column}" = moved("{column}") WHERE {conditions}',  # noqa: S608  # nosec B608
                    places,
                )


def _put_in_place(source: Path, target: Path) -> int:
    if not source.is_dir():
        return 0
    files = [file for file in source.rglob("*") if file.is_file()]
    for file in files:
        place = target / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        for left in ("-wal", "-shm"):  # of a database that stood here: SQLite would read its changes into the new one
            place.with_name(place.name + left).unlink(missing_ok=True)
        shutil.move(file, place)
    return len(files)


def _existing_parent(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.is_dir())
