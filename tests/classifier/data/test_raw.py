import pytest

from classifier.data.raw import place
from classifier.errors import ImageLoopError


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


def test_what_a_person_put_into_raw_is_kept(draw_folder, workspace):
    raw = place(draw_folder(cat=2, dog=2), workspace)
    (raw / "cat" / "mine.png").write_bytes(b"precious")

    place(draw_folder(name="other", ant=2, bee=2), workspace)

    kept = list((workspace.state / "kept").rglob("mine.png"))
    assert [path.read_bytes() for path in kept] == [b"precious"]
    assert names(raw) == ["ant/0.png", "ant/1.png", "bee/0.png", "bee/1.png"]


def test_raw_that_was_never_filled_by_us_is_kept(draw_folder, workspace):
    (workspace.data / "raw").mkdir(parents=True)
    (workspace.data / "raw" / "photo.jpg").write_bytes(b"precious")

    place(draw_folder(cat=1, dog=1), workspace)

    assert list((workspace.state / "kept").rglob("photo.jpg"))


def test_a_folder_that_holds_the_project_is_refused(workspace):
    with pytest.raises(ImageLoopError, match="holds this project"):
        place(workspace.home.parent, workspace)


def test_pictures_made_by_us_are_taken_over(workspace):
    made = workspace.downloads / "generated"
    (made / "cat").mkdir(parents=True)
    (made / "cat" / "1.jpg").write_bytes(b"x")

    assert names(place(made, workspace)) == ["cat/1.jpg"]
    assert not made.exists()
