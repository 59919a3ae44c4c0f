import shutil

import pytest

from imageloop.data.raw_folder import held_source, place
from imageloop.errors import ImageLoopError


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_folder_elsewhere_is_copied_and_follows_its_changes(draw_folder, workspace):
    folder = draw_folder(cat=2, dog=2)
    raw = place(folder, workspace)
    (folder / "cat" / "0.png").unlink()
    draw_folder(bee=1)

    place(folder, workspace)

    assert raw == workspace.data / "raw"
    assert names(raw) == names(folder) == ["bee/0.png", "cat/1.png", "dog/0.png", "dog/1.png"]


def test_a_folder_below_data_is_used_where_it_lies(workspace):
    mine = workspace.data / "mine"
    mine.mkdir(parents=True)

    assert place(mine, workspace) == mine


def test_files_that_a_user_added_to_raw_are_preserved(draw_folder, workspace):
    raw = place(draw_folder(cat=2, dog=2), workspace)
    (raw / "cat" / "mine.png").write_bytes(b"precious")

    place(draw_folder(name="other", ant=2, bee=2), workspace)

    kept = list((workspace.state / "kept").rglob("mine.png"))
    assert [path.read_bytes() for path in kept] == [b"precious"]
    assert names(raw) == ["ant/0.png", "ant/1.png", "bee/0.png", "bee/1.png"]


def test_a_raw_folder_that_imageloop_did_not_fill_is_preserved(draw_folder, workspace):
    (workspace.data / "raw").mkdir(parents=True)
    (workspace.data / "raw" / "photo.jpg").write_bytes(b"precious")

    place(draw_folder(cat=1, dog=1), workspace)

    assert list((workspace.state / "kept").rglob("photo.jpg"))


def test_raw_is_preserved_where_its_manifest_is_lost(draw_folder, workspace, caplog):
    place(draw_folder(cat=2, dog=2), workspace, "first")
    (workspace.state / "raw.json").write_bytes(b'{"listing": "half')

    assert held_source(workspace) == ""
    place(draw_folder(name="other", ant=2, bee=2), workspace, "second")

    assert "cannot be read" in caplog.text
    assert len(list((workspace.state / "kept").rglob("*.png"))) == 4
    assert held_source(workspace) == "second"


def test_a_folder_that_holds_the_project_is_refused(workspace):
    with pytest.raises(ImageLoopError, match="holds this project"):
        place(workspace.home.parent, workspace)


def test_images_made_by_us_are_taken_over(workspace):
    made = workspace.downloads / "generated"
    (made / "cat").mkdir(parents=True)
    (made / "cat" / "1.jpg").write_bytes(b"x")

    assert names(place(made, workspace)) == ["cat/1.jpg"]
    assert not made.exists()


def test_an_image_that_may_not_be_read_is_an_empty_one_that_dvc_can_track(draw_folder, workspace, monkeypatch, caplog):
    source = draw_folder(cat=2, dog=2)
    locked = next(source.rglob("*.*"))
    copy = shutil.copyfile

    def refuse(file, target):
        if file == locked:
            raise PermissionError(13, "Permission denied", str(file))
        return copy(file, target)

    monkeypatch.setattr(shutil, "copyfile", refuse)

    raw = place(source, workspace, "s")

    assert (raw / locked.relative_to(source)).read_bytes() == b""
    assert (raw / locked.relative_to(source)).stat().st_mode & 0o400
    assert "cannot be read, permission is missing" in caplog.text
