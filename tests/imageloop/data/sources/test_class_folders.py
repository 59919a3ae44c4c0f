import pytest

from imageloop.data.sources.class_folders import ClassFolders
from imageloop.data.sources.folder import check_folder, list_files, read_class_folders
from imageloop.errors import SettingsError


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def labels_of(folder) -> dict[str, str | None]:
    return {file.name: file.label for file in list_files(folder)}


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (("cat/1.jpg", "dog/1.jpg"), {"cat", "dog"}),
        (("cat/by the window/1.jpg", "dog/1.jpg"), {"cat", "dog"}),
        (("training_set/training_set/cats/1.jpg", "training_set/training_set/dogs/1.jpg", "test_set/test_set/cats/2.jpg", "test_set/test_set/dogs/2.jpg"), {"cats", "dogs"}),
        (("seg_train/seg_train/sea/1.jpg", "seg_train/seg_train/street/1.jpg", "seg_test/seg_test/sea/1.jpg", "seg_test/seg_test/street/2.jpg", "seg_pred/seg_pred/1.jpg"), {"sea", "street", None}),
        (("train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "val/b/1.jpg", "test/a/1.jpg", "test/b/1.jpg"), {"a", "b"}),
        (("train/a/1.jpg", "train/b/1.jpg", "test/7.jpg"), {"a", "b", None}),
        (("Training/a/1.jpg", "Training/b/1.jpg", "Testing/a/1.jpg", "Testing/b/1.jpg"), {"a", "b"}),
        (("train2017/a/1.jpg", "train2017/b/1.jpg", "val2017/a/1.jpg", "val2017/b/1.jpg"), {"a", "b"}),
        (("cells/sick/1.png", "cells/well/1.png", "cells/cells/sick/1.png", "cells/cells/well/1.png"), {"sick", "well"}),
        (("cat/train/1.jpg", "cat/test/2.jpg", "dog/train/1.jpg", "dog/test/2.jpg"), {"cat", "dog"}),
        (("bus/1.jpg", "car/1.jpg", "train/1.jpg"), {"bus", "car", "train"}),
        (("test_tube/1.jpg", "flask/1.jpg"), {"test_tube", "flask"}),
        (("cat.1.jpg", "dog.2.jpg"), {"cat", "dog"}),
        (("train/cat.1.jpg", "train/dog.2.jpg", "test1/3.jpg"), {"cat", "dog", None}),
        (("cat/1.jpg", "cat/a/1.jpg", "cat/b/1.jpg", "dog/1.jpg", "dog/a/1.jpg", "dog/b/1.jpg"), {"cat", "dog"}),
        (("cat/kept_by_service/1.jpg", "cat/1.jpg", "dog/kept_by_service/1.jpg", "dog/2.jpg"), {"cat", "dog"}),
        (("1.jpg", "cat/1.jpg", "dog/1.jpg"), {None, "cat", "dog"}),
    ],
)  # fmt: skip
def test_the_classes_are_found_below_whatever_is_around_them(tmp_path, names, labels):
    found = labels_of(touch(tmp_path, *names))

    assert set(found.values()) == labels
    assert len(found) == len(names)


def test_sub_folders_of_the_same_names_have_two_readings(tmp_path):
    touch(tmp_path, "line 1/good/1.jpg", "line 1/bad/1.jpg", "line 2/good/1.jpg", "line 2/bad/1.jpg")

    with pytest.raises(SettingsError, match=r"the same sub-folders \('bad', 'good'\) in 'line 1', 'line 2'.*--data"):
        check_folder(tmp_path, "data.source.path")


def test_what_was_pooled_is_said(tmp_path):
    (said,) = read_class_folders(touch(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "val/b/1.jpg")).notices()

    assert "'train', 'val' are pooled and split anew" in said
    assert read_class_folders(touch(tmp_path / "plain", "a/1.jpg", "b/1.jpg")).notices() == []


def test_images_in_sub_folders_of_a_class_are_of_that_class_and_that_is_said(tmp_path):
    found = read_class_folders(touch(tmp_path, "cat/1.jpg", "cat/kitten/2.jpg", "dog/1.jpg"))

    assert found.notices() == ["all images below 'cat' are of that class, those in its sub-folders too"]
    assert found.label_of("cat/kitten/2.jpg") == "cat"


def test_names_that_are_equal_in_unicode_are_one_class(tmp_path):
    touch(tmp_path, "caf\u00e9/1.jpg", "cafe\u0301/2.jpg", "tea/1.jpg")

    assert set(labels_of(tmp_path).values()) == {"caf\u00e9", "tea"}
    assert "are one class" in " ".join(read_class_folders(tmp_path).notices())


def test_names_that_differ_in_case_are_named(tmp_path):
    touch(tmp_path, "Cat/1.jpg", "cat/2.jpg", "dog/1.jpg")

    assert set(labels_of(tmp_path).values()) == {"Cat", "cat", "dog"}
    assert "'Cat', 'cat' differ in upper and lower case only" in " ".join(read_class_folders(tmp_path).notices())


def test_an_empty_class_folder_is_named(tmp_path):
    touch(tmp_path, "cat/1.jpg", "dog/1.jpg", "lion/.gitkeep")

    with pytest.raises(SettingsError, match=r"no file in 1 of 3 class folders \('lion'\)"):
        check_folder(tmp_path, "data.source.path")


def test_files_without_a_class_are_counted_by_their_endings(tmp_path):
    touch(tmp_path, "1.jpg", "2.jpg", "labels.csv")

    with pytest.raises(SettingsError, match=r"one folder a class.*files without a class.*2 .jpg, 1 .csv"):
        check_folder(tmp_path, "data.source.path")


def test_a_file_of_no_pool_nor_class_has_no_label(tmp_path):
    assert ClassFolders(touch(tmp_path, "cat/1.jpg", "dog/1.jpg")).label_of("new/1.jpg") is None
