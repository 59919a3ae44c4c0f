import shutil
import subprocess
import threading
import time

import pytest

from imageloop.adapters import dvc
from imageloop.data.settings import DvcSource, VersioningSettings
from imageloop.data.sources.folder import list_files
from imageloop.workspace_paths import Workspace


def contents(folder):
    return {file.name: file.path.read_bytes() for file in list_files(folder)}


def test_images_come_back_from_the_remote_alone(draw_folder, workspace, tmp_path):
    raw = shutil.copytree(draw_folder(cat=3, dog=3), workspace.data / "raw")
    (raw / "cat" / "new\nline 🐱.png").write_bytes(b"strange name")
    before = contents(raw)
    pointer = dvc.track_images(raw, workspace, VersioningSettings())
    shutil.rmtree(workspace.data)
    shutil.rmtree(workspace.home / ".dvc" / "cache")

    dvc.restore(pointer, tmp_path / "back", workspace)

    assert contents(tmp_path / "back") == before


def test_a_repository_that_a_kill_left_without_configuration_is_completed(draw_folder, tmp_path):
    workspace = Workspace(tmp_path / "né w")
    raw = shutil.copytree(draw_folder(cat=1, dog=1), workspace.data / "raw")
    pointer = dvc.track(raw, workspace, VersioningSettings())
    (workspace.home / ".dvc" / "config").write_text("")

    assert dvc.track(raw, workspace, VersioningSettings()) == pointer
    dvc.restore(pointer, tmp_path / "bäck", workspace)
    assert contents(tmp_path / "bäck") == contents(raw)


def test_archives_change_only_where_images_do_and_come_back_whole(draw_folder, workspace, tmp_path):
    raw = shutil.copytree(draw_folder(cat=9, dog=9), workspace.data / "raw")
    dvc.pack(raw, tmp_path / "first")
    (raw / "cat" / "new.png").write_bytes(b"new")
    dvc.pack(raw, tmp_path / "second")
    pointer = dvc.track_images(raw, workspace, VersioningSettings(archive=True))

    dvc.restore(pointer, tmp_path / "back", workspace)

    same = [
        (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
        for name in map("{:02d}.tar".format, range(16))
    ]
    assert same.count(False) == 1
    assert contents(tmp_path / "back") == contents(raw)


def test_a_remote_is_named_by_its_configuration_or_its_address(draw_folder, workspace, tmp_path):
    raw = shutil.copytree(draw_folder(cat=1, dog=1), workspace.data / "raw")
    pointer = dvc.track(raw, workspace, VersioningSettings())

    dvc.restore(pointer, tmp_path / "back", workspace, str(workspace.state / "dvc-remote"))

    assert contents(tmp_path / "back") == contents(raw)
    with pytest.raises(dvc.VersioningError, match="got: store"):
        dvc.restore(pointer, tmp_path / "other", workspace, "nowhere")
    with pytest.raises(dvc.VersioningError, match="could not"):
        dvc.restore(pointer, tmp_path / "third", workspace, str(tmp_path / "empty"))
    assert not (tmp_path / "third").exists()


def test_another_repository_is_a_source(draw_folder, workspace, tmp_path):
    raw = shutil.copytree(draw_folder(cat=1, dog=1), workspace.data / "raw")
    dvc.track(raw, workspace, VersioningSettings())

    folder = dvc.fetch_source(DvcSource(repository=str(workspace.home)), tmp_path / "downloads")

    assert contents(folder) == contents(raw)
    with pytest.raises(dvc.VersioningError, match="could not get"):
        dvc.fetch_source(DvcSource(repository=str(workspace.home), path="data/nothing"), tmp_path / "downloads")


def test_a_repository_that_is_cloned_leaves_no_clone_behind(draw_folder, workspace, tmp_path, monkeypatch):
    shutil.copytree(draw_folder(cat=1, dog=1), workspace.data / "raw")
    dvc.track(workspace.data / "raw", workspace, VersioningSettings())
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "Images"]):
        subprocess.run(["git", *command], cwd=workspace.home, check=True)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))

    folder = dvc.fetch_source(DvcSource(repository=f"file://{workspace.home}"), tmp_path / "downloads")

    assert contents(folder) == contents(workspace.data / "raw")
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_second_run_waits_for_the_first_and_logs_it(workspace, caplog):
    caplog.set_level("INFO")
    order = []

    def second():
        with dvc.data_lock(workspace):
            order.append("second")

    with dvc.data_lock(workspace):
        other = threading.Thread(target=second)
        other.start()
        time.sleep(0.3)
        order.append("first")
    other.join()

    assert order == ["first", "second"]
    assert "waiting for it" in caplog.text
