"""Data that goes missing, processes that die, settings that differ: the main job goes on or says why not."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import mlflow
import pytest

from tests.system.conftest import PROJECT, new_site

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("robustness")]


def test_prepared_images_that_were_damaged_or_deleted_are_made_again(site, tmp_path, draw):
    folder = draw(tmp_path / "pets", seed=9, cat=20, dog=20)
    site.train("healing", "--data", str(folder))
    for shard in site.workspace.prepared.rglob("*.npy"):
        shard.write_bytes(shard.read_bytes()[:-1] + b"\x00")

    any_accuracy = ("--set", "promotion.gates.champion_margin=1")
    healed = site.train("healing", "--data", str(folder), "--set", "training.seed=2", *any_accuracy)
    shutil.rmtree(site.workspace.prepared)
    again = site.train("healing", "--data", str(folder), "--set", "training.seed=3", *any_accuracy)

    assert healed["outcome"] == again["outcome"] == "champion"


def test_cached_steps_with_deleted_artifacts_run_again(tmp_path, exported_backbones):
    site = new_site(tmp_path)
    site.workspace.state.mkdir(exist_ok=True)
    site.workspace.backbones.symlink_to(exported_backbones)
    site.train("lost")
    shutil.rmtree(site.workspace.state)
    site.run("--activate", "local", program="stacks/apply.py")

    again = site.train("lost")

    assert again["cached"] == []
    assert again["outcome"] == "champion"


def test_a_model_that_was_deleted_is_registered_anew(site):
    first = site.train("deleted")
    mlflow.MlflowClient(f"sqlite:///{site.workspace.state}/mlflow.db").delete_registered_model("deleted")

    again = site.train("deleted")

    assert "train" in again["cached"]
    assert "register" not in again["cached"]
    assert (again["model_version"], again["outcome"]) == (first["model_version"], "champion")


def test_the_data_of_a_run_comes_back_byte_for_byte(site, tmp_path, draw):
    folder = draw(tmp_path / "pets", seed=5, cat=15, dog=15)
    run = site.train("restored", "--data", str(folder))
    shutil.rmtree(site.workspace.data)
    shutil.rmtree(site.home / ".dvc" / "cache")

    out, _ = site.run("restore", run["tracking_run"], "--to", str(tmp_path / "back"))

    assert "30 images" in out
    for path in folder.rglob("*.png"):
        assert (tmp_path / "back" / "images" / path.relative_to(folder)).read_bytes() == path.read_bytes()
    assert (tmp_path / "back" / "catalog.parquet").stat().st_size > 0
    _, err = site.run("restore", run["tracking_run"], "--to", str(tmp_path / "back"), expect=1)
    assert "got" in err
    assert "there already" in err
    _, err = site.run("restore", "no-such-run", "--to", str(tmp_path / "other"), expect=1)
    assert "no-such-run" in err


def test_images_and_prepared_ones_may_be_versioned_as_archives(site, tmp_path, draw):
    folder = draw(tmp_path / "pets", seed=6, cat=12, dog=12)
    options = ("--set", "data.versioning.archive=true", "--set", "data.versioning.prepared=true")

    run = site.train("archived", "--data", str(folder), *options)
    site.run("restore", run["tracking_run"], "--to", str(tmp_path / "back"))

    names = lambda root: {path.relative_to(root).as_posix() for path in root.rglob("*.png")}
    assert names(tmp_path / "back" / "images") == names(folder)
    assert (site.workspace.data / "prepared.dvc").exists()


def test_a_run_without_dvc_reads_the_folder_where_it_lies(site, tmp_path, draw):
    folder = draw(tmp_path / "pets", seed=7, cat=12, dog=12)

    run = site.train("loose", "--data", str(folder), "--set", "data.versioning.enabled=false")

    _, err = site.run("restore", run["tracking_run"], "--to", str(tmp_path / "back"), expect=1)
    assert "data/raw.dvc" in err


def test_a_failing_step_shows_one_sentence_and_the_log_file(site, tmp_path, draw):
    folder = draw(tmp_path / "pets", cat=20, dog=1)

    out, err = site.run("train", "--config", "configs/smoke.yaml", "--data", str(folder), expect=1)

    assert out == ""
    assert "error: expected 10 usable images or more of each class, got: 'dog' has 1" in err
    assert "Traceback" not in err
    log = err.split("the details are in ")[1].splitlines()[0]
    assert "Traceback" in Path(log).read_text()


@pytest.mark.parametrize("after_seconds", [9, 14])
def test_a_killed_run_is_simply_run_again(site, tmp_path, after_seconds, draw):
    folder = draw(tmp_path / "pets", seed=after_seconds, cat=20, dog=20)
    arguments = (
        "train",
        "--config",
        "configs/smoke.yaml",
        "--set",
        "promotion.model_name=killed",
        "--data",
        str(folder),
        "--json",
    )
    process = site.start(*arguments)
    time.sleep(after_seconds)
    process.send_signal(signal.SIGKILL)
    process.communicate()

    result = json.loads(site.run(*arguments)[0])

    assert result["outcome"] in ("champion", "refused")
    out, _ = site.run(program=str(listed_runs(tmp_path)))
    statuses = json.loads(out.splitlines()[-1])
    assert set(statuses) <= {"completed", "failed"}, "a killed run says that it runs"
    assert not list((site.workspace.state / "runs").iterdir())
    assert not [path for path in site.home.rglob("*.tmp") if "prepared" in str(path) and path.suffix != ".tmp"]


def listed_runs(folder: Path) -> Path:
    """A program that lists the statuses of ZenML's runs."""
    script = folder / "runs.py"
    script.write_text(
        "import json\nfrom zenml.client import Client\n"
        "print(json.dumps([run.status.value for run in Client().list_pipeline_runs(size=100)]))\n"
    )
    return script


KILLED = """
import os
import sys

from cli.app import app
from imageloop.adapters.mlflow_registry import ModelRegistry

ModelRegistry.promote = lambda *_: os._exit(9)
sys.argv = ["run.py", *sys.argv[1:]]
app()
"""


def test_a_version_that_a_killed_run_registered_is_promoted_by_the_next(site, tmp_path):
    (tmp_path / "killed.py").write_text(KILLED)
    arguments = ("train", "--config", "configs/smoke.yaml", "--set", "promotion.model_name=halfway")
    site.run(*arguments, program=str(tmp_path / "killed.py"), expect=9, PYTHONPATH=str(PROJECT))
    left = site.json("versions", "--model", "halfway")

    result = site.json(*arguments)

    assert (left["champion"], left["versions"][0]["verdict"]) == (None, "promoting")
    assert (result["outcome"], result["model_version"]) == ("champion", "1")
    listed = site.json("versions", "--model", "halfway")
    assert (listed["champion"], [version["verdict"] for version in listed["versions"]]) == ("1", ["advance"])


def test_two_runs_at_once_both_register_and_one_is_champion(site):
    arguments = ("train", "--config", "configs/smoke.yaml", "--set", "promotion.model_name=twins", "--json")
    processes = [site.start(*arguments, "--set", f"training.seed={seed}") for seed in (21, 22)]

    responses = [process.communicate(timeout=300) for process in processes]

    assert [process.returncode for process in processes] == [0, 0], responses
    results = [json.loads(out) for out, _ in responses]

    listed = site.json("versions", "--model", "twins")
    assert {result["model_version"] for result in results} == {"1", "2"}
    passed = [version["version"] for version in listed["versions"] if version["verdict"] == "advance"]
    assert listed["champion"] == max(passed)


def test_no_command_finds_the_configuration_of_zenml_half_written(site):
    file = Path(site.environment["ZENML_REPOSITORY_PATH"], ".zen", "config.yaml")
    with file.open() as held:
        site.run("versions", "--model", "nobody")

        assert file.stat().st_ino != os.fstat(held.fileno()).st_ino  # another file took its place
        assert held.read() == file.read_text()


def test_the_baseline_goes_the_same_way(site, tmp_path, draw):
    folder = draw(tmp_path / "pets", seed=11, cat=20, dog=20)
    options = (
        "model.kind=baseline_cnn",
        "model.side_pixels=32",
        "model.channels=[8,16]",
        "model.loop.max_epochs=2",
        "model.loop.batch_size=8",
    )

    arguments = (
        "train", "--config", "configs/baseline.yaml", "--data", str(folder), "--set", "promotion.model_name=baseline",
        "--set", "promotion.gates.min_accuracy=0", "--set", "promotion.gates.min_class_recall=0", "--set", "promotion.gates.max_calibration_error=1",
        *(part for option in options for part in ("--set", f"training.{option}")),
    )  # fmt: skip
    result = site.json(*arguments)
    _, err = site.run(*arguments, "--set", "feedback.enabled=true", expect=1)

    assert result["outcome"] == "champion"
    assert "since the features of version 1 were trained too, which takes images, got images of 0 of 0 labels" in err
    assert site.json("predict", str(folder / "cat"), "--model", "baseline")["predictions"]
