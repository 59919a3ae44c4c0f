"""Paths that a recovery moves, and what it refuses; a whole site goes and comes back in tests/system."""

import sqlite3
from contextlib import closing

import pytest

from imageloop.errors import SettingsError
from operations.backup import _move_paths, _put_in_place, _refuse_full_site

OLD, ZENML = "/srv/site", "/srv/site/zenml"
PLACES = {OLD: "/srv/site2", ZENML: "/var/zenml"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("/srv/site/mlartifacts/1", "/srv/site2/mlartifacts/1"),
        ("file:///srv/site/a and /srv/site", "file:///srv/site2/a and /srv/site2"),
        ('{"uri": "/srv/site/zenml/local_stores"}', '{"uri": "/var/zenml/local_stores"}'),
        ("/srv/site-images/cats", "/srv/site-images/cats"),
        ("/srv/site.old/cats", "/srv/site.old/cats"),
        ("/mnt/srv/site/cats", "/mnt/srv/site/cats"),
        ("it lies in /srv/site.", "it lies in /srv/site2."),
    ],
)
def test_paths_of_the_site_move_once_and_those_of_others_stay(tmp_path, before, after):
    (tmp_path / "MLmodel").write_text(before)
    with closing(sqlite3.connect(tmp_path / "some.db")) as connection, connection:
        connection.execute("CREATE TABLE artifacts (uri VARCHAR(200), size INTEGER)")
        connection.execute("INSERT INTO artifacts VALUES (?, 1), (NULL, 2)", [before])

    _move_paths(tmp_path, PLACES)

    assert (tmp_path / "MLmodel").read_text() == after
    with closing(sqlite3.connect(tmp_path / "some.db")) as connection:
        assert connection.execute("SELECT uri FROM artifacts ORDER BY size").fetchall() == [(after,), (None,)]


def _keep(file, count: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE predictions (number INTEGER)")
        connection.executemany("INSERT INTO predictions VALUES (?)", [[number] for number in range(count)])


def test_journals_of_another_database_are_not_read_into_the_restored_one(tmp_path):
    _keep(tmp_path / "archive" / "records.db", 3)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "records.db-wal").write_bytes(b"of another one")

    assert _put_in_place(tmp_path / "archive", tmp_path / "site") == 1
    assert [path.name for path in (tmp_path / "site").iterdir()] == ["records.db"]


def test_a_site_with_records_is_not_empty(workspace, tmp_path):
    _keep(workspace.state / "records" / "records.db", 3)

    with pytest.raises(SettingsError, match="got 3 rows of 'predictions'"):
        _refuse_full_site(workspace, tmp_path)
