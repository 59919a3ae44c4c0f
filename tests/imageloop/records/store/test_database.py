"""The collector and its database; with a real PostgreSQL too, where the machine has one."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from imageloop.embeddings.drift_samples import embeddings_of
from imageloop.records.record_reader import RecordTail, remove_if_read
from imageloop.records.record_types import FeedbackRecord, PredictionRecord, encode_embedding
from imageloop.records.record_writer import RecordWriter
from imageloop.records.store import records_connection
from imageloop.records.store.collector import collect
from imageloop.records.store.database import Database, DatabaseError, Decision
from seldon.delivery.clusters.local.replicas import serving_python
from seldon.delivery.clusters.local.site_folders import free_port
from tests import servers

PROJECT = Path(__file__).parents[4]


def prediction(number: int, **changes) -> dict:
    return {
        "kind": "prediction", "time": datetime.fromtimestamp(1_800_000_000 + number, UTC).isoformat(), "request_id": f"{number:032x}",
        "caller_id": None, "model_name": "pets", "model_version": "1", "predictor": "v1", "sha256": "s", "size_bytes": 1,
        "label": "cat", "probabilities": {"cat": 0.75, "dog": 0.25}, "latency_ms": 1.0, "source": "http",
        "statistics": {"brightness": 100.0}, "embedding": encode_embedding(np.full(4, number, np.float32)), "in_distribution": True,
    } | changes  # fmt: skip


def ground_truth(number: int, label: str, second: int = 0) -> dict:
    when = datetime.fromtimestamp(1_800_000_000 + second, UTC).isoformat()
    return {"kind": "feedback", "time": when, "request_id": f"{number:032x}", "ground_truth": label, "source": "http"}


def write(folder: Path, *records: dict) -> None:
    writer = RecordWriter(folder, lambda _count: pytest.fail("a record was lost"))
    for record in records:
        assert writer.write_through(record)
    writer.close()


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory):
    with servers.postgresql(tmp_path_factory.mktemp("postgresql")) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path):
    if request.param == "sqlite":
        opened = Database.of_folder(tmp_path / "database")
    else:
        opened = Database(request.getfixturevalue("postgresql"))
        opened.forget("pets", before=1e12, max_rows=0)
        opened.forget_files(opened.files())
    yield opened
    opened.close()


@pytest.fixture
def lines(tmp_path) -> Path:
    return tmp_path / "lines"


def test_it_may_share_a_database_with_others_of_alembics(tmp_path):
    file = tmp_path / "shared.db"
    with sqlite3.connect(file) as shared:  # as MLflow leaves it
        shared.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        shared.execute("INSERT INTO alembic_version VALUES ('5d2d30f0abce')")

    for _ in range(2):
        Database(f"sqlite:///{file}").close()

    with sqlite3.connect(file) as shared:
        assert shared.execute("SELECT version_num FROM alembic_version").fetchall() == [("5d2d30f0abce",)]
        assert shared.execute("SELECT version_num FROM imageloop_records_version").fetchall() == [("0003",)]


def test_a_database_of_an_earlier_release_is_taken_over(tmp_path, lines):
    database = Database.of_folder(tmp_path)
    database.keep(
        "records", 0, 1, [PredictionRecord.model_validate(prediction(1)), FeedbackRecord.model_validate(ground_truth(1, "dog"))]
    )
    window = {"p_value": 0.01, "feature_groups": [], "out_of_distribution_share": 0.1, "out_of_distribution_alarm": False}
    database.keep_window("pets", "1", 1.0, 2.0, window)
    database.decide("pets", Decision("one", 3.0, "retrain", "drift", {"accuracy_threshold": 0.8}))
    database.close()
    downgrade(tmp_path / "records.db")
    with sqlite3.connect(tmp_path / "records.db") as earlier:
        earlier.execute("ALTER TABLE imageloop_records_version RENAME TO alembic_version")
        assert earlier.execute("SELECT true_label FROM feedback").fetchall() == [("dog",)]
        (old,) = earlier.execute("SELECT figures FROM windows").fetchone()
        assert {"levels", "unfamiliar_share", "unfamiliar_alarm"} < json.loads(old).keys()

    migrated = Database.of_folder(tmp_path)

    assert migrated.labelled("pets")["ground_truth"].tolist() == ["dog"]
    assert migrated.windows("pets", 1) == [window | {"version": "1", "start": 1.0, "end": 2.0}]
    assert migrated.decisions("pets", 1)[0].metrics == {"accuracy_threshold": 0.8}
    migrated.close()


def downgrade(file: Path) -> None:
    """To the schema of 0.1."""
    config = Config()
    config.set_main_option("script_location", str(Path(records_connection.__file__).parent / "migrations"))
    engine = create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        config.attributes |= {"connection": connection, "version_table": records_connection.VERSIONS}
        command.downgrade(config, "0001")
    engine.dispose()
    records_connection.RecordsConnection._migrated.clear()  # as another process has it


def test_a_database_of_a_later_release_is_refused_in_one_sentence(tmp_path):
    Database.of_folder(tmp_path).close()
    with sqlite3.connect(tmp_path / "records.db") as later:
        later.execute("UPDATE imageloop_records_version SET version_num = '9999'")
    records_connection.RecordsConnection._migrated.clear()  # as another process has it

    with pytest.raises(DatabaseError, match="migrated by a newer release"):
        Database.of_folder(tmp_path)


def test_a_record_becomes_one_row_however_often_it_is_delivered(database, lines):
    write(lines, prediction(1), prediction(1), prediction(2), ground_truth(1, "dog"))

    first, second = collect(lines, database), collect(lines, database)
    database.forget_files(database.files())
    third = collect(lines, database)

    assert (first.predictions, first.feedback, second.predictions, third.predictions) == (3, 1, 0, 3)
    assert (database.counts()["predictions"], database.counts()["feedback"]) == (2, 1)
    rows = database.predictions("pets")
    assert rows["request_id"].tolist() == [f"{1:032x}", f"{2:032x}"]
    assert rows["confidence"].tolist() == [0.75, 0.75]
    assert rows["probabilities"][0] == {"cat": 0.75, "dog": 0.25}
    assert embeddings_of(rows)[:, 0].tolist() == [1, 2]


def test_feedback_may_arrive_before_its_prediction_twice_or_without_one(database, lines):
    write(lines, ground_truth(1, "dog", 1), ground_truth(1, "cat", 2), ground_truth(99, "cat"))
    collect(lines, database)
    before, orphans = database.labelled("pets"), database.orphans()

    write(lines, prediction(1))
    collect(lines, database)

    assert (len(before), orphans) == (0, 3)
    assert database.labelled("pets")["ground_truth"].tolist() == ["cat"]
    assert database.orphans() == 1


def test_two_collectors_at_once_keep_each_record_once(database, lines):
    write(lines, *(prediction(n) for n in range(20)))
    name = next(lines.glob("*.jsonl")).name

    first = database.keep(name, 0, 10, [])
    second = database.keep(name, 0, 10, [])

    assert (first, second) == (True, False)
    assert database.position(name) == 10


def test_the_collector_runs_in_the_serving_image(lines, postgresql):
    write(lines, prediction(1), ground_truth(1, "dog"))
    code = "import sys; from pathlib import Path; from imageloop.records.store.collector import collect, Database; collect(Path(sys.argv[1]), Database(sys.argv[2]))"

    done = subprocess.run(
        [serving_python(), "-c", code, lines, postgresql], cwd=PROJECT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    database = Database(postgresql)
    assert database.labelled("pets")["ground_truth"].tolist() == ["dog"]
    database.forget("pets", before=1e12, max_rows=0)
    database.forget_files(database.files())
    database.close()


def test_a_terminating_collector_stays_while_the_service_may_still_write(lines, tmp_path):
    lines.mkdir()
    database = Database.of_folder(tmp_path / "database")
    environment = os.environ | {"IMAGELOOP_DATABASE": f"sqlite:///{tmp_path / 'database' / 'records.db'}"}
    process = subprocess.Popen(
        [sys.executable, "-m", "imageloop.records.store.collector", lines, "4"], cwd=PROJECT, env=environment
    )
    deadline = time.monotonic() + 60
    while not _catches_sigterm(Path(f"/proc/{process.pid}/status").read_bytes()):
        assert time.monotonic() < deadline
        time.sleep(0.1)

    process.terminate()
    time.sleep(1)
    write(lines, prediction(1))

    assert process.wait(20) == 0
    assert database.counts()["predictions"] == 1
    database.close()


def _catches_sigterm(status: bytes) -> bool:
    (caught,) = (int(line.split()[1], 16) for line in status.splitlines() if line.startswith(b"SigCgt"))
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def test_collectors_of_two_pods_keep_their_own_positions(database, tmp_path):
    pods = [tmp_path / "one", tmp_path / "two"]
    for number, pod in enumerate(pods):
        write(pod, prediction(number))
    for pod in pods:
        collect(pod, database)
    known = database.files()

    again = [collect(pod, database) for pod in pods]
    for pod in pods:
        collect(pod, database, idle_seconds=-1)

    assert len(known) == 2
    assert [found.predictions for found in again] == [0, 0]
    assert database.files() == []


def test_the_position_of_a_deleted_pods_file_expires(database, lines):
    database.keep("v1-0/records-1700000000000000000-7-0123abcd.jsonl", 0, 10, [])
    database.keep(recent := f"v1-0/records-{time.time_ns()}-7-0123abcd.jsonl", 0, 10, [])

    collect(lines, database)

    assert database.files() == [recent]


def test_age_and_number_limit_the_records(database, lines):
    write(lines, *(prediction(n) for n in range(10)), ground_truth(1, "dog"), ground_truth(9, "dog", 9))
    collect(lines, database)

    by_age = database.forget("pets", before=1_800_000_003, max_rows=100)
    by_number = database.forget("pets", before=0, max_rows=4)

    assert (by_age, by_number) == (4, 2)
    assert database.predictions("pets")["request_id"].tolist() == [f"{n:032x}" for n in range(6, 10)]
    assert len(database.labelled("pets")) == 1


def test_retention_of_one_model_deletes_nothing_of_another(database, lines):
    write(
        lines,
        *(prediction(n, model_name="birds") for n in range(3)),
        *(prediction(n, model_name="wrens") for n in range(3, 6)),
        ground_truth(1, "dog"),
    )
    collect(lines, database)
    database.keep_window("birds", "1", 0.0, 1.0, {})
    database.decide("wrens", Decision("notified", 1.0, "alert", "drift", {}, ""))
    database.decide("wrens", Decision("tried", 1.0, "retrain", "drift", {}, "refused"))

    gone = database.forget("wrens", before=1_800_000_100, max_rows=1)

    assert gone == 3
    assert len(database.predictions("birds")) == 3
    assert database.labels("birds")["ground_truth"].tolist() == ["dog"]
    assert len(database.windows("birds", 5)) == 1
    assert [one.decision_id for one in database.decisions("wrens", 5)] == ["tried"]
    database.forget("birds", before=1e12, max_rows=0)


def test_labels_are_read_for_one_version_and_its_newest_predictions(database, lines):
    write(
        lines,
        *(prediction(n, model_version=str(n % 2)) for n in range(6)),
        *(ground_truth(n, "dog") for n in range(6)),
        ground_truth(5, "cat", 9),
    )
    collect(lines, database)

    newest = database.labelled("pets", version="1", newest=2)

    assert newest["request_id"].tolist() == [f"{n:032x}" for n in (3, 5)]
    assert newest["ground_truth"].tolist() == ["dog", "cat"]
    assert len(database.labels("pets")) == 6
    assert set(database.predictions("pets", version="0")["model_version"]) == {"0"}


def test_rejected_labels_count_as_never_sent_and_accepted_ones_are_marked(database, lines):
    write(lines, *(prediction(n) for n in range(4)), *(ground_truth(n, "dog") for n in range(4)), ground_truth(3, "cat", 9))
    collect(lines, database)
    before = database.newest_label_ids("pets")

    accepted = database.review_requests("pets", [f"{0:032x}", "unknown"], "accepted")
    rejected = database.review_requests("pets", [f"{1:032x}"], "rejected")
    of_others = database.review_source("birds", "http", "rejected")

    labels = database.labelled("pets").set_index("request_id")
    assert (accepted, rejected, of_others) == ([f"{0:032x}"], [f"{1:032x}"], 0)
    assert labels.index.tolist() == [f"{n:032x}" for n in (0, 2, 3)]
    assert labels["review"].fillna("").tolist() == ["accepted", "", ""]
    assert len(database.labels("pets")) == 3
    assert len(before) == 4
    assert database.newest_label_ids("pets") not in (before, before[:1] + before[2:])  # a retraining sees that something changed
    source = labels["feedback_source"].iloc[0]
    assert database.review_source("pets", source, "rejected") == 5
    assert database.labelled("pets").empty


def test_no_other_source_overrules_a_label_that_a_user_accepted(database, lines):
    write(lines, prediction(1), ground_truth(1, "dog"), ground_truth(1, "cat", 5) | {"source": "http:other"})
    collect(lines, database)
    own = ground_truth(1, "dog")["source"]
    before = database.labelled("pets")["ground_truth"].tolist()

    database.review_source("pets", own, "accepted")

    assert before == ["cat"]  # the newest
    assert database.labelled("pets")["ground_truth"].tolist() == ["dog"]
    assert database.labels("pets")["feedback_source"].tolist() == [own]


def test_windows_and_decisions_are_stored_in_order(database):
    for number in range(3):
        database.keep_window("pets", "1", number, number + 1, {"alarm": number == 2})
        database.decide("pets", Decision(f"d{number}-{database._engine.dialect.name}", number, "alert", "drift", {"p": 0.01}))
    database.conclude(f"d1-{database._engine.dialect.name}", "notified")

    assert [window["alarm"] for window in database.windows("pets", 2)] == [False, True]
    assert [decision.outcome for decision in database.decisions("pets", 3)] == [None, "notified", None]
    assert database.decisions("pets", 1)[0].metrics == {"p": 0.01}


def test_a_file_that_was_read_and_rests_is_removed_and_its_writer_takes_another(tmp_path, lines):
    database = Database.of_folder(tmp_path / "database")
    writer = RecordWriter(lines, lambda _count: None)
    writer.write_through(prediction(1))

    kept, removed = collect(lines, database), collect(lines, database, idle_seconds=-1)
    writer.write_through(prediction(2))
    writer.close()
    collect(lines, database)

    assert (kept.removed, removed.removed) == (0, 1)
    assert database.counts()["predictions"] == 2
    assert len(database.files()) == 1


def test_a_file_that_was_removed_is_not_made_again_under_its_name(tmp_path, lines):
    """Its place may still be known: a collector was killed right after it removed the file, or the writer was faster."""
    database = Database.of_folder(tmp_path / "database")
    writer, tail = RecordWriter(lines, lambda _count: None), RecordTail(lines)
    for number in range(3):
        writer.write_through(prediction(number))
    collect(lines, database)
    tail.read()
    (file,) = lines.iterdir()

    assert remove_if_read(file, file.stat().st_size, idle_seconds=-1)
    writer.write_through(prediction(3))
    writer.close()
    collect(lines, database)

    assert database.counts()["predictions"] == 4
    assert [record.request_id for record in tail.read()] == [f"{3:032x}"]
    assert not file.exists()


def test_a_database_failure_is_one_sentence(tmp_path, lines):
    database = Database.of_folder(tmp_path / "database")
    with sqlite3.connect(tmp_path / "database" / "records.db") as connection:
        connection.execute("DROP TABLE positions")
    connection.close()
    write(lines, prediction(1))

    with pytest.raises(DatabaseError, match="could not read how far records were collected"):
        collect(lines, database)
    database.close()


def test_a_collector_that_is_killed_again_and_again_loses_and_repeats_nothing(tmp_path, lines):
    code = (
        "import sys; from pathlib import Path; from imageloop.records.store.collector import collect; from imageloop.records.store.database import Database\n"
        "import imageloop.records.store.collector as c; read = c.read_chunk\n"
        "c.read_chunk = lambda file, start: read(file, start, 20_000)\n"
        "collect(Path(sys.argv[1]), Database.of_folder(Path(sys.argv[2])))"
    )
    write(lines, *(prediction(n) for n in range(2000)))
    database = Database.of_folder(tmp_path / "database")

    for tenths in range(4, 12):
        process = subprocess.Popen([sys.executable, "-c", code, lines, tmp_path / "database"], stderr=subprocess.DEVNULL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=tenths / 5)
        process.kill()
        process.wait()
    collect(lines, database)

    assert database.counts()["predictions"] == 2000


def test_lines_that_are_no_records_are_left_out_and_counted(tmp_path, lines):
    lines.mkdir()
    (lines / "records-1.jsonl").write_text(
        '{"kind":"prediction","time":1}\nno json\n' + json.dumps(prediction(1), separators=(",", ":")) + "\n"
    )

    collected = collect(lines, Database.of_folder(tmp_path / "database"))

    assert (collected.predictions, collected.broken) == (1, 2)


def test_a_missing_database_is_one_sentence(tmp_path):
    with pytest.raises(DatabaseError, match="the database of records"):
        Database(f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/none")
    (tmp_path / "file").write_text("a file where a folder should be")
    with pytest.raises(DatabaseError, match="no folder for the database of records"):
        Database.of_folder(tmp_path / "file")
    with pytest.raises(DatabaseError, match="SQLite or PostgreSQL"):
        Database("mysql+pymysql://nobody@127.0.0.1/none")
