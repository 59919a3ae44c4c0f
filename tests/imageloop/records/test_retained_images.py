import hashlib
import os
import shutil

import pyrage
import pytest

from imageloop.errors import ImageLoopError, SettingsError
from imageloop.records.retained_images import PictureKeeper, delete_pictures, kept_pictures, make_identity, read_picture

ONE, OTHER = "1" * 32, "2" * 32
CAT = hashlib.sha256(b"cat").hexdigest()[:12]
PICTURE = b"not a picture, and nobody here looks" * 50


@pytest.fixture
def identity(tmp_path):
    return tmp_path / "keys" / "pictures.key"


@pytest.fixture
def lost():
    return []


@pytest.fixture
def keeper(tmp_path, identity, lost):
    return PictureKeeper(tmp_path / "pictures", make_identity(identity), 1, lambda: lost.append(1))


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.age"))


def test_only_the_key_reads_what_was_kept(keeper, tmp_path, identity):
    keeper.keep(ONE, "cat", PICTURE, for_labelling=True)

    (kept,) = kept_pictures(tmp_path / "pictures")
    assert (kept.request_id, read_picture(kept, identity)) == (ONE, PICTURE)
    assert PICTURE[:16] not in kept.file.read_bytes()
    assert identity.stat().st_mode & 0o077 == 0
    make_identity(tmp_path / "other.key")
    with pytest.raises(ImageLoopError, match="name the key it was kept for"):
        read_picture(kept, tmp_path / "other.key")


def test_a_right_answer_leaves_no_picture_and_a_wrong_one_does(keeper, tmp_path):
    for request_id in (ONE, OTHER, f"{OTHER[:-1]}3.7"):
        keeper.keep(request_id, "cat", PICTURE, for_labelling=False)

    keeper.learn(ONE, "cat")
    keeper.learn(OTHER, "dog")
    keeper.learn("9" * 32, "dog")

    assert names(tmp_path / "pictures") == [f"{OTHER}.age", f"waiting/{OTHER[:-1]}3.7-{CAT}.age"]
    keeper.learn(f"{OTHER[:-1]}3.7", "other")
    assert names(tmp_path / "pictures") == [f"{OTHER}.age", f"{OTHER[:-1]}3.7.age"]


def test_every_picture_of_a_request_is_deleted_and_no_other(keeper, tmp_path):
    for request_id in (f"{ONE}.1", f"{ONE}.10", OTHER):
        keeper.keep(request_id, "cat", PICTURE, for_labelling=request_id.endswith("10"))

    assert delete_pictures(tmp_path / "pictures", [f"{ONE}.1"]) == 1
    assert delete_pictures(tmp_path / "pictures", [ONE]) == 1
    assert names(tmp_path / "pictures") == [f"waiting/{OTHER}-{CAT}.age"]


def test_there_is_a_limit_and_what_waits_goes_first(keeper, tmp_path):
    keeper.keep(ONE, "cat", os.urandom(200_000), for_labelling=True)
    for number in range(64):
        keeper.keep(f"{number:032x}", "cat", os.urandom(30_000), for_labelling=False)
    keeper.keep(OTHER, "cat", os.urandom(30_000), for_labelling=False)

    together = sum(file.stat().st_size for file in (tmp_path / "pictures").rglob("*.age"))
    assert together < 1.2 * 2**20 + 32 * 31_000
    assert names(tmp_path / "pictures")[0] == f"{ONE}.age"
    assert f"waiting/{0:032x}-{CAT}.age" not in names(tmp_path / "pictures")


def test_a_place_that_cannot_be_written_is_counted_and_fails_nothing(keeper, tmp_path, lost):
    shutil.rmtree(tmp_path / "pictures", ignore_errors=True)
    (tmp_path / "pictures").write_text("a file in the way")

    keeper.keep(ONE, "cat", PICTURE, for_labelling=True)
    keeper.learn(ONE, "cat")

    assert lost == [1]


def test_wrong_settings_are_refused(monkeypatch, tmp_path):
    def lose():
        raise AssertionError

    assert PictureKeeper.from_environment(str(tmp_path), lose) is None
    monkeypatch.setenv("IMAGELOOP_KEEP_PICTURES_FOR", "age1nonsense")
    with pytest.raises(SettingsError, match=r"wanted a public key \(age1...\)"):
        PictureKeeper.from_environment(str(tmp_path), lose)
    monkeypatch.setenv("IMAGELOOP_KEEP_PICTURES_FOR", str(pyrage.x25519.Identity.generate().to_public()))
    with pytest.raises(SettingsError, match="wanted a folder for records"):
        PictureKeeper.from_environment(None, lose)
    monkeypatch.setenv("IMAGELOOP_KEPT_PICTURES_MB", "many")
    with pytest.raises(SettingsError, match="wanted a number of megabytes, found 'many'"):
        PictureKeeper.from_environment(str(tmp_path), lose)
