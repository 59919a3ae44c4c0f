import json
import time
from functools import partial

import pytest

from imageloop.records.record_reader import RecordTail
from imageloop.records.record_types import FeedbackRecord, PredictionRecord
from imageloop.records.record_writer import RecordWriter


def prediction(number: int) -> dict:
    return {
        "kind": "prediction", "time": f"2026-01-01T00:00:{number:02d}+00:00", "request_id": f"{number:032x}", "caller_id": None,
        "model_name": "m", "model_version": "1", "predictor": "v1", "sha256": "s", "size_bytes": 1, "label": "cat",
        "probabilities": {"cat": 1.0}, "latency_ms": 1.0, "source": "http",
    }  # fmt: skip


def ground_truth(number: int, label: str) -> dict:
    return {
        "kind": "feedback",
        "time": "2026-01-01T00:01:00+00:00",
        "request_id": f"{number:032x}",
        "ground_truth": label,
        "source": "http",
    }


@pytest.fixture
def lost():
    return []


def test_what_is_written_is_read_once(tmp_path, lost):
    tail, writer = RecordTail(tmp_path), RecordWriter(tmp_path, lost.append)
    writer.write(partial(prediction, 1))
    writer.write(partial(ground_truth, 1, "dog"))
    writer.close()

    first, second = tail.read(), tail.read()

    assert [type(record) for record in first] == [PredictionRecord, FeedbackRecord]
    assert first[1].ground_truth == "dog"
    assert second == []
    assert lost == []


def test_a_line_that_a_crash_cut_off_waits_for_its_end_and_a_broken_one_is_left_out(tmp_path):
    line = json.dumps(prediction(1), separators=(",", ":"))
    file = tmp_path / "records-1.jsonl"
    file.write_text('{"kind":"prediction","time":1}\nno json\n' + line[:50])
    tail = RecordTail(tmp_path)

    before = tail.read()
    file.write_text(file.read_text() + line[50:] + "\n")

    assert before == []
    assert [record.request_id for record in tail.read()] == [f"{1:032x}"]


def test_reading_from_now_on_leaves_out_what_was(tmp_path, lost):
    writer = RecordWriter(tmp_path, lost.append)
    writer.write(partial(prediction, 1))
    deadline = time.monotonic() + 10
    while not list(tmp_path.glob("*.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.01)

    tail = RecordTail(tmp_path, from_now=True)
    writer.write(partial(prediction, 2))
    writer.close()

    assert [record.request_id for record in tail.read()] == [f"{2:032x}"]


def test_a_folder_that_cannot_be_written_loses_records_and_counts_them(tmp_path, lost):
    (tmp_path / "records").write_text("a file where a folder should be")
    writer = RecordWriter(tmp_path / "records", lost.append)

    for number in range(5):
        writer.write(partial(prediction, number))
    writer.close()

    assert sum(lost) == 5


@pytest.mark.parametrize("make", [lambda: 1 / 0, lambda: {"request_id": object()}], ids=["raises", "no JSON"])
def test_a_record_that_cannot_be_made_is_counted_and_the_others_are_written(tmp_path, lost, make):
    tail, writer = RecordTail(tmp_path), RecordWriter(tmp_path, lost.append)

    for record in (partial(prediction, 1), make, partial(prediction, 2)):
        writer.write(record)
    writer.close()

    assert [record.request_id for record in tail.read()] == [f"{number:032x}" for number in (1, 2)]
    assert lost == [1]


def test_a_writer_that_cannot_keep_up_drops_and_counts(tmp_path, lost, monkeypatch):
    monkeypatch.setattr("imageloop.records.record_writer.QUEUE_LENGTH", 3)
    monkeypatch.setattr(RecordWriter, "_work", lambda self: time.sleep(0.2))
    writer = RecordWriter(tmp_path, lost.append)

    for number in range(10):
        writer.write(partial(prediction, number))

    assert sum(lost) == 7


def test_files_are_rotated_and_nothing_is_read_twice(tmp_path, lost, monkeypatch):
    monkeypatch.setattr("imageloop.records.record_writer.ROTATE_BYTES", 600)
    tail, found = RecordTail(tmp_path), []
    writer = RecordWriter(tmp_path, lost.append)
    for number in range(12):
        assert writer.write_through(prediction(number))
        found += [record.request_id for record in tail.read()]
    writer.close()

    assert found == [f"{number:032x}" for number in range(12)]
    assert len(list(tmp_path.glob("*.jsonl"))) > 2
    assert lost == []


def test_without_a_collector_the_oldest_files_are_deleted_and_counted(tmp_path, lost, monkeypatch):
    monkeypatch.setattr("imageloop.records.record_writer.ROTATE_BYTES", 600)
    monkeypatch.setattr("imageloop.records.record_writer.MAX_FOLDER_BYTES", 1300)
    writer = RecordWriter(tmp_path, lost.append)

    for number in range(12):
        writer.write_through(prediction(number))
    writer.close()

    kept = [record.request_id for record in RecordTail(tmp_path).read()]
    assert kept == [f"{number:032x}" for number in range(12 - len(kept), 12)]
    assert 0 < len(kept) < 12
    assert sum(lost) == 12 - len(kept)


def test_a_disk_that_fills_up_in_the_middle_of_a_line_leaves_whole_lines(tmp_path, lost, monkeypatch):
    writer = RecordWriter(tmp_path, lost.append)
    writer.write_through(prediction(1))

    def half(file, content):
        file.write(content[: len(content) // 2])
        raise OSError(28, "no space left on device")

    with monkeypatch.context() as full:
        full.setattr("imageloop.records.record_writer._write_all", half)
        assert not writer.write_through(prediction(2))
    writer.write_through(prediction(3))
    writer.close()

    assert [record.request_id for record in RecordTail(tmp_path).read()] == [f"{1:032x}", f"{3:032x}"]
    assert lost == [1]
