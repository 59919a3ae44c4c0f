"""The main job, from pictures to a registered, signed, usable model, on a real ZenML store and a real MLflow database."""

import json
import shutil
import signal
import sqlite3
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("training")]

STEPS = {
    "ingest", "validate", "split", "version", "prepare", "train", "find_label_issues", "calibrate", "export", "evaluate", "gate", "sign", "register",
}  # fmt: skip


def draw(folder, seed=0, **counts):
    rng = np.random.default_rng(seed)
    for place, (label, count) in enumerate(counts.items()):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            coarse = rng.integers(0, 120, (8, 8, 3)) + 100 * (place % 2)
            Image.fromarray(coarse.astype(np.uint8)).resize((96, 80), Image.Resampling.BICUBIC).save(
                folder / label / f"{seed}-{index}.png"
            )
    return folder


@pytest.fixture(scope="module")
def trained(site):
    return site.train("main", "--set", "training.seed=101")


def test_the_first_run_does_every_step_and_makes_a_champion(trained):
    assert set(trained["seconds"]) - {"start_up", "together"} == STEPS
    assert {"train", "register"}.isdisjoint(trained["cached"])
    assert trained["outcome"] == "champion"
    assert trained["model_version"] == "1"
    assert trained["class_names"] == ["cat", "dog"]
    assert len(trained["data_version"]) == 12
    assert len(trained["tried"]) == 4


def test_the_same_again_comes_from_the_cache_and_registers_nothing(site, trained):
    site.train("main", "--set", "training.seed=101")  # the gate looks at the champion that the first run made

    again = site.train("main", "--set", "training.seed=101")

    assert set(again["cached"]) == STEPS
    assert again["model_version"] == "1"
    assert again["tracking_run"] == trained["tracking_run"]


def test_mlflow_has_parameters_epochs_figures_and_the_way_back_to_the_data(site, trained):
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{site.workspace.state}/mlflow.db")
    run = client.get_run(trained["tracking_run"])

    assert run.info.status == "FINISHED"
    assert run.data.tags["data_version"] == trained["data_version"]
    assert run.data.params["training.model.loop.max_epochs"] == "10"
    assert run.data.metrics["test_accuracy"] == trained["accuracy"]
    assert len(client.get_metric_history(trained["tracking_run"], "validation_cat_recall")) >= 8
    files = {
        file.path
        for folder in ("", "figures", "data", "environment")
        for file in client.list_artifacts(trained["tracking_run"], folder)
    }
    assert {
        "figures/confusion_matrix.png",
        "figures/roc.png",
        "figures/calibration.png",
        "mistakes.html",
        "data/raw.dvc",
    } <= files
    assert not (site.home / "mlruns").exists()


def test_the_lineage_in_zenml_goes_from_the_catalog_to_the_registration(site, trained):
    database = sqlite3.connect(next((site.home.parent / "zenml").rglob("*.db")))

    names = {row[0] for row in database.execute("select name from artifact")}
    models = {row[0] for row in database.execute("select name from model")}

    assert {"catalog", "data_version", "prepared", "trained_model", "evaluation", "verdict", "package", "registration"} <= names
    assert "main" in models


def test_each_artifact_has_its_picture(site, trained):
    pages = {path.name for path in (site.workspace.state / "artifacts").rglob("*") if path.suffix in (".html", ".png")}

    assert {
        "pictures.html",
        "losses.png",
        "evaluation.html",
        "verdict.html",
        "package.html",
        "issues.html",
        "record.html",
    } <= pages


def test_a_new_picture_runs_ingest_again_and_decodes_only_itself(site, tmp_path):
    folder = draw(tmp_path / "pets", cat=20, dog=20)
    first = site.train("growing", "--data", str(folder))
    draw(folder, seed=1, cat=1)

    out, err = site.run(
        "train", "--config", "configs/smoke.yaml", "--set", "promotion.model_name=growing", "--data", str(folder), "--json"
    )

    second = json.loads(out)
    assert "decoded 1 pictures, 40 were known" in err
    assert "ingest" not in second["cached"]
    assert second["data_version"] != first["data_version"]


def test_another_seed_runs_from_training_on(site, trained):
    site.train("main", "--set", "training.seed=101")  # other tests' pictures may stand in data/raw

    other = site.train("main", "--set", "training.seed=8")

    assert {"ingest", "validate", "split", "version", "prepare", "find_label_issues"} == set(other["cached"])


def test_prepared_pictures_that_were_damaged_or_deleted_are_made_again(site, tmp_path):
    folder = draw(tmp_path / "pets", seed=9, cat=20, dog=20)
    site.train("healing", "--data", str(folder))
    for shard in site.workspace.prepared.rglob("*.npy"):
        shard.write_bytes(shard.read_bytes()[:-1] + b"\x00")

    healed = site.train("healing", "--data", str(folder), "--set", "training.seed=2")
    shutil.rmtree(site.workspace.prepared)
    again = site.train("healing", "--data", str(folder), "--set", "training.seed=3")

    assert healed["outcome"] == again["outcome"] == "champion"


def test_a_refused_model_is_registered_as_refused_and_nothing_moves(site, trained):
    refused = site.train("main", "--set", "promotion.gates.max_milliseconds_per_picture=0.0001", "--set", "training.seed=3")

    listed = site.json("versions", "--model", "main")

    assert refused["outcome"] == "refused"
    assert "milliseconds a picture" in refused["reason"]
    assert listed["champion"] != refused["model_version"]
    assert listed["versions"][0]["verdict"] == "rollback"
    _, err = site.run("approve", refused["model_version"], "--model", "main", expect=1)
    assert "wanted a version that passed its gates" in err


def test_a_model_that_waits_is_approved_by_a_person(site, trained):
    waiting = site.train("approval", "--set", "promotion.approval=manual")

    assert waiting["outcome"] == "waiting for approval"
    assert site.json("versions", "--model", "approval")["champion"] is None
    approved = site.json("approve", waiting["model_version"], "--model", "approval")
    assert approved == {"model_name": "approval", "champion": waiting["model_version"], "before": None}
    assert "champion" in site.run("versions", "--model", "approval")[0]


def test_two_versions_are_compared_on_the_same_pictures(site, trained):
    site.train("compared", "--no-cache")
    site.train("compared", "--set", "training.seed=4")

    result = site.json("compare", "1", "2", "--model", "compared")

    assert result["num_pictures"] == 6
    assert len(result["figures"]) == 2
    assert "accuracy" in site.run("compare", "1", "2", "--model", "compared")[0]
    _, err = site.run("compare", "1", "77", "--model", "compared", expect=1)
    assert "wanted version '77' of 'compared', found only: 1, 2" in err


def test_the_data_of_a_run_comes_back_byte_for_byte(site, tmp_path):
    folder = draw(tmp_path / "pets", seed=5, cat=15, dog=15)
    run = site.train("restored", "--data", str(folder))
    shutil.rmtree(site.workspace.data)
    shutil.rmtree(site.home / ".dvc" / "cache")

    out, _ = site.run("restore", run["tracking_run"], "--to", str(tmp_path / "back"))

    assert "30 pictures" in out
    for path in folder.rglob("*.png"):
        assert (tmp_path / "back" / "pictures" / path.relative_to(folder)).read_bytes() == path.read_bytes()
    assert (tmp_path / "back" / "catalog.parquet").stat().st_size > 0
    _, err = site.run("restore", run["tracking_run"], "--to", str(tmp_path / "back"), expect=1)
    assert "found" in err
    assert "there already" in err
    _, err = site.run("restore", "no-such-run", "--to", str(tmp_path / "other"), expect=1)
    assert "no-such-run" in err


def test_pictures_may_be_kept_as_archives_and_prepared_ones_too(site, tmp_path):
    folder = draw(tmp_path / "pets", seed=6, cat=12, dog=12)
    options = ("--set", "data.versioning.archive=true", "--set", "data.versioning.prepared=true")

    run = site.train("archived", "--data", str(folder), *options)
    site.run("restore", run["tracking_run"], "--to", str(tmp_path / "back"))

    names = lambda root: {path.relative_to(root).as_posix() for path in root.rglob("*.png")}
    assert names(tmp_path / "back" / "pictures") == names(folder)
    assert (site.workspace.data / "prepared.dvc").exists()


def test_a_run_without_dvc_reads_the_folder_where_it_lies(site, tmp_path):
    folder = draw(tmp_path / "pets", seed=7, cat=12, dog=12)

    run = site.train("loose", "--data", str(folder), "--set", "data.versioning.enabled=false")

    _, err = site.run("restore", run["tracking_run"], "--to", str(tmp_path / "back"), expect=1)
    assert "data/raw.dvc" in err


def test_a_failing_step_shows_one_sentence_and_the_log_file(site, tmp_path):
    folder = draw(tmp_path / "pets", cat=20, dog=1)

    out, err = site.run("train", "--config", "configs/smoke.yaml", "--data", str(folder), expect=1)

    assert out == ""
    assert "error: wanted 10 usable pictures or more of each class, found: 'dog' has 1" in err
    assert "Traceback" not in err
    log = err.split("the details are in ")[1].split()[0]
    assert "Traceback" in Path(log).read_text()


@pytest.mark.parametrize("after_seconds", [9, 14])
def test_a_killed_run_is_simply_run_again(site, tmp_path, after_seconds):
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
    assert not [path for path in site.home.rglob("*.tmp") if "prepared" in str(path) and path.suffix != ".tmp"]


def test_two_runs_at_once_both_register_and_one_is_champion(site):
    arguments = ("train", "--config", "configs/smoke.yaml", "--set", "promotion.model_name=twins", "--json")
    processes = [site.start(*arguments, "--set", f"training.seed={seed}") for seed in (21, 22)]

    answers = [process.communicate(timeout=300) for process in processes]

    assert [process.returncode for process in processes] == [0, 0], answers
    results = [json.loads(out) for out, _ in answers]

    listed = site.json("versions", "--model", "twins")
    assert {result["model_version"] for result in results} == {"1", "2"}
    passed = [version["version"] for version in listed["versions"] if version["verdict"] == "advance"]
    assert listed["champion"] == max(passed)


def test_the_baseline_goes_the_same_way(site, tmp_path):
    folder = draw(tmp_path / "pets", seed=11, cat=20, dog=20)
    options = (
        "model.kind=baseline_cnn",
        "model.side_pixels=32",
        "model.channels=[8,16]",
        "model.loop.max_epochs=2",
        "model.loop.batch_size=8",
    )

    result = site.json(
        "train", "--config", "configs/baseline.yaml", "--data", str(folder), "--set", "promotion.model_name=baseline",
        "--set", "promotion.gates.min_accuracy=0", "--set", "promotion.gates.min_class_recall=0", "--set", "promotion.gates.max_calibration_error=1",
        *(part for option in options for part in ("--set", f"training.{option}")),
    )  # fmt: skip

    assert result["outcome"] == "champion"
    assert site.json("predict", str(folder / "cat"), "--model", "baseline")["predictions"]


def test_real_photographs_of_ants_and_bees_work_with_the_folder_alone(site, photographs, tmp_path):
    result = site.json("train", "--data", str(photographs / "antsbees"), "--set", "promotion.model_name=ants")

    assert result["class_names"] == ["ant", "bee"]
    assert result["accuracy"] > 0.85
    assert result["outcome"] == "champion"
