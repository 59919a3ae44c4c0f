"""Following the records of pods, which come by way of a database."""

from datetime import UTC, datetime, timedelta

import pytest

from imageloop.records.record_writer import RecordWriter
from imageloop.records.store.collector import collect
from imageloop.records.store.database import Database, DatabaseError
from imageloop.records.store.database_tail import DatabaseTail


@pytest.fixture
def database(tmp_path):
    opened = Database.of_folder(tmp_path / "database")
    yield opened
    opened.close()


@pytest.fixture
def arrive(tmp_path, database):
    """Records reach the database: arrive(("a", 5)) is answer `a`, made in five seconds' time; arrive(("a", 6, "dog")) its ground truth."""
    begun = datetime.now(UTC)

    def write(*made: tuple) -> None:
        writer = RecordWriter(tmp_path / "lines", lambda _count: pytest.fail("a record was lost"))
        for request_id, second, *label in made:
            record = {"time": (begun + timedelta(seconds=second)).isoformat(), "request_id": request_id, "source": "http"}
            if label:
                record = {"kind": "feedback"} | record | {"ground_truth": label[0], "feedback_id": f"{request_id}-{second}"}
            else:
                record = {"kind": "prediction"} | record | {
                    "model_name": "pets", "model_version": "1", "predictor": "v1", "sha256": "s", "size_bytes": 1, "label": "cat",
                    "probabilities": {"cat": 0.75, "dog": 0.25}, "latency_ms": 1.0,
                }  # fmt: skip
            assert writer.write_through(record)
        writer.close()
        collect(tmp_path / "lines", database)

    return write


def test_each_record_comes_once_and_late_ones_come_too(database, arrive):
    tail = DatabaseTail(database, "pets")
    arrive(("a", 5), ("b", 50))
    first = [record.request_id for record in tail.read()]
    arrive(("c", 20), ("b", 60, "dog"), ("b", 61, "cat"))
    second = [(record.request_id, record.kind) for record in tail.read()]

    assert first == ["a", "b"]
    assert second == [("c", "prediction"), ("b", "feedback"), ("b", "feedback")]
    assert tail.read() == []


def test_earlier_predictions_and_those_of_other_models_are_left_out(database, arrive):
    arrive(("old", -30), ("new", 5))

    assert [record.request_id for record in DatabaseTail(database, "pets").read()] == ["new"]
    assert DatabaseTail(database, "birds").read() == []


def test_a_database_that_does_not_respond_ends_no_rollout():
    class Gone:
        def records(self, *_):
            raise DatabaseError("no connection")

    assert DatabaseTail(Gone(), "pets").read() == []
