from datetime import UTC, datetime, timedelta

import pytest

from imageloop.batch_prediction.input_images import list_images, read_content
from imageloop.errors import ImageLoopError, SettingsError
from imageloop.lifecycle.retained_inputs import offer_retained_images
from imageloop.records.record_writer import RecordWriter
from imageloop.records.retained_images import ImageRetention, make_identity
from imageloop.workspace_paths import Workspace

IDS = [f"{number:032x}" for number in range(4)]
NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)


@pytest.fixture
def records(tmp_path, monkeypatch):
    """Four retained images, one of which waits for its ground truth, with records that no monitor has collected yet."""
    monkeypatch.delenv("IMAGELOOP_DATABASE", raising=False)
    folder, identity = tmp_path / "records" / "default" / "pets", tmp_path / "images.key"
    folder.mkdir(parents=True)
    retention = ImageRetention(folder / "images", make_identity(identity), 1, lambda: None)
    writer = RecordWriter(folder, lambda _count: pytest.fail("a record was lost"))
    for number, request_id in enumerate(IDS):
        label, probability = ("cat", 0.9) if number % 2 else ("dog", 0.5)
        retention.keep(request_id, label, f"image {number}".encode(), for_labelling=number > 0)
        record = {
            "kind": "prediction", "time": (NOON + timedelta(hours=number)).isoformat(), "request_id": request_id, "model_name": "pets",
            "model_version": str(1 + number // 2), "predictor": "v1", "sha256": "s", "size_bytes": 1, "label": label,
            "probabilities": {label: probability}, "latency_ms": 1.0, "source": "http",
        }  # fmt: skip
        assert writer.write_through(record)
    writer.close()
    places = {("default", "pets"): folder, ("default", "other"): tmp_path / "none"}
    offer_retained_images(lambda *place: places.get(place), Workspace(tmp_path), identity)
    return folder


def chosen(query=""):
    return sorted(path.rpartition("/")[2] for path in list_images([f"records://default/pets{query}"])["path"])


def test_retained_images_are_listed_and_decrypted_when_they_are_read(records):
    paths = list_images(["records://default/pets"])["path"]

    assert sorted(paths) == [f"records://default/pets/{request_id}" for request_id in IDS]
    assert sorted(read_content(path) for path in paths) == [f"image {number}".encode() for number in range(4)]
    assert read_content(f"records://default/pets/{IDS[2]}", max_bytes=3) == b"imag"
    assert not [file for file in records.rglob("*") if file.is_file() and b"image 0" in file.read_bytes()]


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("?label=cat", [1, 3]),
        ("?max_probability=0.6", [0, 2]),
        ("?min_probability=0.6&version=2", [3]),
        ("?since=2026-11-30T13:00:00&until=2026-11-30T15:00:00", [1, 2]),
    ],
)
def test_a_query_on_the_records_chooses_images(records, query, numbers):
    assert chosen(query) == [IDS[number] for number in numbers]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("records://default/pets?colour=red", "expected a query of label, version, .* got 'colour'"),
        ("records://default/pets?max_probability=low", "expected a number from 0 to 1 for max_probability, got 'low'"),
        ("records://default/pets?since=yesterday", "expected a day or a time such as 2026-11-30 for since, got 'yesterday'"),
        ("records://pets", "expected records://NAMESPACE/NAME"),
        ("records://default/pets?label=horse", "expected images at 'records://default/pets.label=horse', got no file"),
        ("records://default/unknown", "not on this machine"),
        ("records://default/other", "expected to read 'records://default/other', got FileNotFoundError"),
    ],
)
def test_a_wrong_query_is_one_sentence(records, address, message):
    with pytest.raises((SettingsError, ImageLoopError), match=message):
        list_images([address])


def test_an_image_that_was_deleted_is_named(records):
    with pytest.raises(FileNotFoundError, match="no retained image of the request"):
        read_content("records://default/pets/unknown")
