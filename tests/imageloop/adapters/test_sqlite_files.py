import os
import sqlite3
from contextlib import closing

import pytest

from imageloop.adapters import sqlite_files
from imageloop.adapters.quiet_libraries import never_proxy_loopback
from imageloop.adapters.sqlite_files import DatabaseFileError, check_sqlite_file


@pytest.fixture
def file(tmp_path):
    """A database as MLflow's first migration leaves it."""
    path = tmp_path / "a folder" / "mlflow.db"
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        connection.execute("INSERT INTO alembic_version VALUES ('451aebb31d03')")
        connection.commit()
    return path


def test_a_usable_or_missing_database_passes(file):
    check_sqlite_file(file, "mlflow", "restore it")
    check_sqlite_file(file.with_name("none.db"), "mlflow", "restore it")

    assert not file.with_name("none.db").exists()


@pytest.mark.parametrize("lock", ["EXCLUSIVE", "IMMEDIATE"])
def test_a_locked_database_is_refused_within_seconds_with_who_has_it(file, lock, monkeypatch):
    monkeypatch.setattr(sqlite_files, "WAIT_SECONDS", 0.1)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute(f"BEGIN {lock}")

        with pytest.raises(DatabaseFileError, match=f"got it locked for .* by process {os.getpid()}"):
            check_sqlite_file(file, "mlflow", "restore it")
    check_sqlite_file(file, "mlflow", "restore it")


def test_a_database_of_a_newer_release_is_refused(file):
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'fedcba987654'")
        connection.commit()

    with pytest.raises(DatabaseFileError, match=r"a newer release migrated .*fedcba987654"):
        check_sqlite_file(file, "mlflow", "restore it")


@pytest.mark.parametrize("keep", [0.0, 0.5])
def test_a_damaged_database_is_refused_with_the_way_out(file, keep):
    content = file.read_bytes()
    file.write_bytes(b"\xff" * 200 + content[200 : int(keep * len(content))])

    with pytest.raises(DatabaseFileError, match=r"got a damaged file .*; restore it"):
        check_sqlite_file(file, "zenml", "restore it")


def test_loopback_is_never_asked_through_a_proxy(monkeypatch):
    import requests.utils

    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "intranet.example")
    monkeypatch.delenv("NO_PROXY", raising=False)

    never_proxy_loopback()

    assert os.environ["no_proxy"] == "intranet.example,localhost,127.0.0.1,::1"
    for host in ("127.0.0.1", "localhost", "[::1]"):
        assert requests.utils.should_bypass_proxies(f"http://{host}:8000/predict", no_proxy=None)
    assert not requests.utils.should_bypass_proxies("http://elsewhere.example/", no_proxy=None)
