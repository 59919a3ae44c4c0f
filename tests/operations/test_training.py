"""Whether there may be other images, which decides what comes from the cache."""

import subprocess

from operations.training import reading_of
from steps.pipeline_settings import TrainSettings

IDENTITY = ("-c", "user.name=a", "-c", "user.email=a@example.org")


def reading(workspace, **data) -> str:
    return reading_of(TrainSettings.model_validate({"data": data}).data, workspace)


def test_a_folder_that_is_read_where_it_lies_is_the_same_until_it_changes(workspace, draw_folder):
    folder = draw_folder(cat=2, dog=2)
    source = {"source": {"kind": "folder", "path": str(folder)}, "versioning": {"enabled": False}}
    before = reading(workspace, **source)

    assert reading(workspace, **source) == before
    (folder / "cat" / "0.png").unlink()
    assert reading(workspace, **source) != before


def test_a_repository_elsewhere_is_another_one_with_each_commit(workspace, tmp_path):
    commit = ["git", "-C", tmp_path, *IDENTITY, "commit", "-q", "--allow-empty", "-m", "change"]
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    subprocess.run(commit, check=True)
    source = {"source": {"kind": "dvc", "repository": f"file://{tmp_path}"}}
    before = reading(workspace, **source).partition("-")[0]

    assert reading(workspace, **source).partition("-")[0] == before
    subprocess.run(commit, check=True)
    assert reading(workspace, **source).partition("-")[0] != before
