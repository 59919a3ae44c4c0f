from pathlib import Path

import pytest
from pydantic import ValidationError

from imageloop.data.settings import ArchiveSource, DataSettings, DvcSource, FolderSource, GeneratedSource, KaggleSource
from imageloop.data.sources import source_kinds
from imageloop.data.sources.kaggle import bring_kaggle, check_kaggle
from imageloop.errors import ImageLoopError, SettingsError


def no_dvc(source, downloads):
    raise AssertionError


def test_every_kind_of_source_becomes_a_folder(tmp_path, draw_folder):
    folder = draw_folder(cat=1, dog=1)

    assert source_kinds.bring_in(FolderSource(path=folder), tmp_path, no_dvc) == folder
    assert source_kinds.bring_in(GeneratedSource(num_images=40), tmp_path, no_dvc).is_dir()
    assert (
        source_kinds.bring_in(DvcSource(repository="r"), tmp_path, lambda source, downloads: downloads / source.path)
        == tmp_path / "data/raw"
    )


def test_fingerprints_follow_what_a_source_holds(tmp_path, draw_folder):
    folder = draw_folder(cat=1, dog=1)
    (tmp_path / "repo" / "data").mkdir(parents=True)
    dvc = DvcSource(repository=str(tmp_path / "repo"))
    before = (
        source_kinds.fingerprint(DataSettings(source=FolderSource(path=folder))),
        source_kinds.fingerprint(DataSettings(source=dvc)),
    )

    draw_folder(bee=1)
    (tmp_path / "repo" / "data" / "raw.dvc").write_text("md5")

    assert source_kinds.fingerprint(DataSettings(source=FolderSource(path=folder))) != before[0]
    assert source_kinds.fingerprint(DataSettings(source=dvc)) != before[1]
    part = DvcSource(repository=str(tmp_path / "repo"), path="data/raw/cats/")
    known = source_kinds.fingerprint(DataSettings(source=part))
    (tmp_path / "repo" / "data" / "raw.dvc").write_text("another md5")
    assert source_kinds.fingerprint(DataSettings(source=part)) != known
    assert source_kinds.fingerprint(DataSettings(source=GeneratedSource(seed=1))) != source_kinds.fingerprint(
        DataSettings(source=GeneratedSource(seed=2))
    )


def test_a_missing_repository_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="expected a DVC repository, got no folder"):
        source_kinds.check(DataSettings(source=DvcSource(repository=str(tmp_path / "gone"))))

    for there in (str(tmp_path), "https://example.org/pets.git", "git@example.org:pets.git"):
        source_kinds.check(DataSettings(source=DvcSource(repository=there)))


def test_a_url_needs_a_hash_and_http():
    with pytest.raises(ValidationError, match="sha256"):
        ArchiveSource(location="https://example.org/a.zip")
    with pytest.raises(ValidationError, match="URL"):
        ArchiveSource(location="ftp://example.org/a.zip", sha256="0" * 64)


def test_kaggle_needs_its_own_variables_alone(monkeypatch):
    with pytest.raises(SettingsError, match="KAGGLE_API_TOKEN"):
        source_kinds.check(DataSettings(source=KaggleSource(handle="a/b")))

    check_kaggle("key", {"KAGGLE_API_TOKEN": "t"})
    check_kaggle("key", {"KAGGLE_USERNAME": "u", "KAGGLE_KEY": "k"})


def test_data_sets_and_competitions_are_downloaded_by_kaggles_client(monkeypatch, tmp_path):
    import kagglehub

    monkeypatch.setenv("KAGGLE_API_TOKEN", "t")
    monkeypatch.setattr(kagglehub, "dataset_download", lambda handle: str(tmp_path))
    monkeypatch.setattr(kagglehub, "competition_download", lambda handle: 1 / 0)

    assert bring_kaggle(KaggleSource(handle="owner/pets")) == tmp_path
    with pytest.raises(ImageLoopError, match="got none"):
        bring_kaggle(KaggleSource(handle="owner/pets", folder="gone"))
    with pytest.raises(ImageLoopError, match="accepted the rules"):
        bring_kaggle(KaggleSource(handle="dogs-vs-cats"))


def test_checks_pass_what_can_only_be_known_later():
    source_kinds.check(DataSettings(source=GeneratedSource()))
    source_kinds.check(DataSettings(source=ArchiveSource(location="https://example.org/a.zip", sha256="0" * 64)))
    assert Path("x") != source_kinds.fingerprint(
        DataSettings(source=ArchiveSource(location="https://example.org/a.zip", sha256="0" * 64))
    )
