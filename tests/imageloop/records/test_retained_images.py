import hashlib
import os
import shutil

import pyrage
import pytest

from imageloop.errors import ImageLoopError, SettingsError
from imageloop.records.retained_images import (
    ImageRetention,
    delete_images,
    images_by_request,
    make_identity,
    read_image,
    retained_images,
)

ONE, OTHER = "1" * 32, "2" * 32
CAT = hashlib.sha256(b"cat").hexdigest()[:12]
IMAGE = b"not an image, and nobody here looks" * 50


@pytest.fixture
def identity(tmp_path):
    return tmp_path / "keys" / "images.key"


@pytest.fixture
def lost():
    return []


@pytest.fixture
def retention(tmp_path, identity, lost):
    return ImageRetention(tmp_path / "images", make_identity(identity), 1, lambda: lost.append(1))


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.age"))


def test_only_the_key_decrypts_retained_images(retention, tmp_path, identity):
    retention.keep(ONE, "cat", IMAGE, for_labelling=True)

    (kept,) = retained_images(tmp_path / "images")
    assert (kept.request_id, read_image(ONE, kept.file, identity)) == (ONE, IMAGE)
    assert IMAGE[:16] not in kept.file.read_bytes()
    assert identity.stat().st_mode & 0o077 == 0
    make_identity(tmp_path / "other.key")
    with pytest.raises(ImageLoopError, match="use the key that it was encrypted for"):
        read_image(ONE, kept.file, tmp_path / "other.key")


def test_a_right_prediction_retains_no_image_and_a_wrong_one_does(retention, tmp_path):
    for request_id in (ONE, OTHER, f"{OTHER[:-1]}3.7"):
        retention.keep(request_id, "cat", IMAGE, for_labelling=False)

    retention.set_ground_truth(ONE, "cat")
    retention.set_ground_truth(OTHER, "dog")
    retention.set_ground_truth("9" * 32, "dog")

    assert names(tmp_path / "images") == [f"{OTHER}.age", f"waiting/{OTHER[:-1]}3.7-{CAT}.age"]
    retention.set_ground_truth(f"{OTHER[:-1]}3.7", "other")
    assert names(tmp_path / "images") == [f"{OTHER}.age", f"{OTHER[:-1]}3.7.age"]


def test_right_predictions_keep_their_image_where_all_are_to_stay(tmp_path, identity, lost):
    retention = ImageRetention(tmp_path / "images", make_identity(identity), 1, lost.append, right_ones=True)
    for request_id in (ONE, OTHER):
        retention.keep(request_id, "cat", IMAGE, for_labelling=False)

    retention.set_ground_truth(ONE, "cat")

    assert names(tmp_path / "images") == [f"{ONE}.age", f"waiting/{OTHER}-{CAT}.age"]
    assert set(images_by_request(tmp_path)) == {ONE, OTHER}


def test_every_image_of_a_request_is_deleted_and_no_other(retention, tmp_path):
    for request_id in (f"{ONE}.1", f"{ONE}.10", OTHER):
        retention.keep(request_id, "cat", IMAGE, for_labelling=request_id.endswith("10"))

    assert delete_images(tmp_path / "images", [f"{ONE}.1"]) == 1
    assert delete_images(tmp_path / "images", [ONE]) == 1
    assert names(tmp_path / "images") == [f"waiting/{OTHER}-{CAT}.age"]


def test_retention_is_limited_and_waiting_images_are_deleted_first(retention, tmp_path):
    retention.keep(ONE, "cat", os.urandom(200_000), for_labelling=True)
    for number in range(64):
        retention.keep(f"{number:032x}", "cat", os.urandom(30_000), for_labelling=False)
    retention.keep(OTHER, "cat", os.urandom(30_000), for_labelling=False)

    together = sum(file.stat().st_size for file in (tmp_path / "images").rglob("*.age"))
    assert together < 1.2 * 2**20 + 32 * 31_000
    assert names(tmp_path / "images")[0] == f"{ONE}.age"
    assert f"waiting/{0:032x}-{CAT}.age" not in names(tmp_path / "images")


def test_a_folder_that_cannot_be_written_is_counted_and_fails_no_request(retention, tmp_path, lost):
    shutil.rmtree(tmp_path / "images", ignore_errors=True)
    (tmp_path / "images").write_text("a file in the way")

    retention.keep(ONE, "cat", IMAGE, for_labelling=True)
    retention.set_ground_truth(ONE, "cat")

    assert lost == [1]


def test_wrong_settings_are_refused(monkeypatch, tmp_path):
    def lose():
        raise AssertionError

    assert ImageRetention.from_environment(str(tmp_path), lose) is None
    monkeypatch.setenv("IMAGELOOP_RETAIN_ALL", "1")
    with pytest.raises(SettingsError, match="expected IMAGELOOP_RETAIN_IMAGES_FOR beside it"):
        ImageRetention.from_environment(str(tmp_path), lose)
    monkeypatch.delenv("IMAGELOOP_RETAIN_ALL")
    monkeypatch.setenv("IMAGELOOP_RETAIN_IMAGES_FOR", "age1nonsense")
    with pytest.raises(SettingsError, match=r"expected a public key \(age1...\)"):
        ImageRetention.from_environment(str(tmp_path), lose)
    monkeypatch.setenv("IMAGELOOP_RETAIN_IMAGES_FOR", str(pyrage.x25519.Identity.generate().to_public()))
    with pytest.raises(SettingsError, match="expected a folder for records"):
        ImageRetention.from_environment(None, lose)
    monkeypatch.setenv("IMAGELOOP_RETAINED_IMAGES_MB", "many")
    with pytest.raises(SettingsError, match="expected a number of megabytes, got 'many'"):
        ImageRetention.from_environment(str(tmp_path), lose)
    monkeypatch.delenv("IMAGELOOP_RETAINED_IMAGES_MB")
    monkeypatch.setenv("IMAGELOOP_RETAIN_ALL", "yes")
    with pytest.raises(SettingsError, match="IMAGELOOP_RETAIN_ALL: expected 1 or 0, got 'yes'"):
        ImageRetention.from_environment(str(tmp_path), lose)
