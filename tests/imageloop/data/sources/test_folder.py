import os
from pathlib import Path

import pytest

from imageloop.data.sources.folder import FoundFile, check_folder, every_file, fingerprint, list_files
from imageloop.errors import SettingsError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def test_a_folder_around_the_class_folders_is_passed_through(tmp_path):
    touch(tmp_path, "download/PetImages/Cat/1.jpg", "download/PetImages/Dog/1.jpg", "__MACOSX/x", ".DS_Store")

    assert [(file.name, file.label) for file in list_files(tmp_path)] == [("Cat/1.jpg", "Cat"), ("Dog/1.jpg", "Dog")]


def test_a_readme_beside_the_folder_around_them_is_no_obstacle(tmp_path):
    touch(tmp_path, "readme[1].txt", "licence.docx", "PetImages/Cat/1.jpg", "PetImages/Dog/1.jpg")

    assert [(file.name, file.label) for file in list_files(tmp_path)] == [("Cat/1.jpg", "Cat"), ("Dog/1.jpg", "Dog")]


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (("bus/1.jpg", "car/1.jpg", "train/1.jpg"), {"bus", "car", "train"}),  # vehicles
        (("train/bus/1.jpg", "train/car/1.jpg", "test/1.jpg", "masks/1.png"), {"bus", "car", None, "masks"}),
        (("train/train/cat.1.jpg", "train/train/dog.1.jpg", "test1/test1/7.jpg"), {"cat", "dog", None}),
    ],
)
def test_a_folder_named_train_is_a_split_or_a_class_of_vehicles(tmp_path, names, labels):
    assert {file.label for file in list_files(touch(tmp_path, *names))} == labels


def test_a_loop_of_links_ends(tmp_path):
    touch(tmp_path, "cat/1.jpg", "dog/1.jpg")
    (tmp_path / "dog" / "up").symlink_to(tmp_path)
    (tmp_path / "dog" / "self").symlink_to(tmp_path / "dog" / "self")

    assert [file.name for file in list_files(tmp_path)] == ["cat/1.jpg", "dog/1.jpg"]


def test_the_fingerprint_changes_with_any_file(tmp_path):
    touch(tmp_path, "cat/1.jpg", "dog/1.jpg")
    before = fingerprint(tmp_path)

    touch(tmp_path, "dog/2.jpg")

    assert fingerprint(tmp_path) != before


@pytest.mark.parametrize(
    ("names", "words"), [((), "one folder a class"), (("cat/1.jpg",), "two classes or more"), (("1.jpg",), "one folder a class")]
)
def test_a_folder_that_cannot_work_is_refused_with_the_way_out(tmp_path, names, words):
    touch(tmp_path, *names)

    with pytest.raises(SettingsError, match=words):
        check_folder(tmp_path, "data.source.path")


def test_a_missing_folder_and_a_file_are_refused(tmp_path):
    touch(tmp_path, "file")

    with pytest.raises(SettingsError, match="got nothing"):
        check_folder(tmp_path / "gone", "data.source.path")
    with pytest.raises(SettingsError, match="got a file"):
        check_folder(tmp_path / "file", "data.source.path")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission_is_named(tmp_path):
    touch(tmp_path, "cat/1.jpg", "dog/1.jpg")
    (tmp_path / "dog").chmod(0)

    with pytest.raises(SettingsError, match="no permission"):
        list(list_files(tmp_path))
    touch(tmp_path, "ant/1.jpg")  # two classes that may be read, before the one that may not
    with pytest.raises(SettingsError, match="no permission"):
        check_folder(tmp_path, "data.source.path")
    assert list(every_file(tmp_path, also_unreadable=True)) == [tmp_path / "ant/1.jpg", tmp_path / "cat/1.jpg", tmp_path / "dog"]


def test_every_file_is_found_beside_a_lone_folder_of_folders_too(tmp_path):
    for name in ("a.jpg", "2024/june/x.jpg", ".hidden"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    assert [path.relative_to(tmp_path).as_posix() for path in every_file(tmp_path)] == ["2024/june/x.jpg", "a.jpg"]


@pytest.mark.parametrize(("name", "portable"), [("cat/ä😀.jpg", True), ("v\udcf6gel/1.jpg", False), ("\udcf6😀.jpg", False)])
def test_a_name_is_portable_where_all_of_it_is_utf8(tmp_path, name, portable):
    assert FoundFile(tmp_path, name, None).has_portable_name is portable
