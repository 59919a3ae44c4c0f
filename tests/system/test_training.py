"""The main job, from images to a registered, signed, usable model, on a real ZenML store and a real MLflow database."""

import json
import sqlite3

import pytest

from tests.system.conftest import PROJECT, SMOKE

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("training")]

STEPS = {
    "ingest", "validate", "split", "version", "prepare", "collect_feedback", "train", "find_label_issues", "calibrate", "export", "evaluate", "gate", "sign", "register",
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(site):
    return site.train("main", "--set", "training.seed=101", fresh=True)


def test_the_first_run_does_every_step_and_makes_a_champion(trained):
    assert set(trained["seconds"]) - {"start_up", "total"} == STEPS
    assert {"train", "register"}.isdisjoint(trained["cached"])
    assert trained["outcome"] == "champion"
    assert trained["model_version"] == "1"
    assert trained["class_names"] == ["cat", "dog"]
    assert len(trained["data_version"]) == 12
    assert len(trained["tried"]) == 4


def test_the_same_again_comes_from_the_cache_and_registers_nothing(site, trained):
    again = site.train("main", "--set", "training.seed=101")

    assert set(again["cached"]) == STEPS
    assert again["model_version"] == "1"
    assert again["tracking_run"] == trained["tracking_run"]


def test_mlflow_has_parameters_epochs_figures_and_the_way_back_to_the_data(site, trained, monkeypatch):
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{site.workspace.state}/mlflow.db")
    client = mlflow.MlflowClient()
    run = client.get_run(trained["tracking_run"])

    assert run.info.status == "FINISHED"
    assert run.data.tags["data_version"] == trained["data_version"]
    assert run.info.run_name == f"{trained['model_name']} {trained['model_version']}: efficientnet_lite0 on generated"
    assert f"Accuracy {trained['accuracy']:.1%}" in run.data.tags["mlflow.note.content"]
    assert run.inputs.dataset_inputs[0].dataset.digest == trained["data_version"][:8]
    version = client.get_model_version(trained["model_name"], trained["model_version"])
    assert version.tags["verdict"] == "passed"
    about = mlflow.models.get_model_info(f"models:/{version.name}/{version.version}")
    assert [str(column.type) for column in about.signature.inputs] == ["DataType.binary"]
    assert [column.name for column in about.signature.outputs] == [*trained["class_names"], "label"]
    assert run.data.params["training.model.loop.max_epochs"] == "10"
    assert run.data.metrics["test/accuracy"] == trained["accuracy"]
    assert len(client.get_metric_history(trained["tracking_run"], "validation/cat_recall")) >= 8
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


def test_each_artifact_has_its_image(site, trained):
    pages = {path.name for path in (site.workspace.state / "artifacts").rglob("*") if path.suffix in (".html", ".png")}

    assert {
        "images.html",
        "losses.png",
        "evaluation.html",
        "verdict.html",
        "package.html",
        "issues.html",
        "record.html",
    } <= pages


def test_a_new_image_runs_ingest_again_and_decodes_only_itself(site, tmp_path, draw):
    folder = draw(tmp_path / "pets", cat=20, dog=20)
    first = site.train("growing", "--data", str(folder))
    draw(folder, seed=1, cat=1)

    out, err = site.run(
        "train", "--config", "configs/smoke.yaml", "--set", "promotion.model_name=growing", "--data", str(folder), "--json"
    )

    second = json.loads(out)
    assert "decoded 1 images, 40 were known" in err
    assert "ingest" not in second["cached"]
    assert second["data_version"] != first["data_version"]


def test_another_seed_runs_from_training_on(site, trained):
    site.train("main", "--set", "training.seed=101")  # other tests' images may stand in data/raw

    other = site.train("main", "--set", "training.seed=8")

    assert {"ingest", "validate", "split", "version", "prepare", "collect_feedback", "find_label_issues"} == set(other["cached"])


def test_a_refused_model_is_registered_as_refused_and_nothing_moves(site, trained):
    refused = site.train("main", "--set", "promotion.gates.max_milliseconds_per_image=0.0001", "--set", "training.seed=3")

    listed = site.json("versions", "--model", "main")

    assert refused["outcome"] == "refused"
    assert "milliseconds an image" in refused["reason"]
    assert listed["champion"] != refused["model_version"]
    assert listed["versions"][0]["verdict"] == "rollback"
    _, err = site.run("approve", refused["model_version"], "--model", "main", expect=1)
    assert "expected a version that passed its gates" in err


def test_without_labels_drift_augmentation_trains_and_evaluates(site, trained):
    out, err = site.run(
        "train", *SMOKE, "--set", "promotion.model_name=main", "--set", "feedback.enabled=true",
        "--set", "feedback.drift_augmentation.brightness=0.5", "--json",
    )  # fmt: skip

    assert "drift augmentation" in err
    assert json.loads(out)["model_version"] != trained["model_version"]
    newest = site.json("versions", "--model", "main")["versions"][0]
    assert "accuracy on changed copies of the test images" in newest["reason"]


REPEATED = """
from steps.pipeline_settings import TrainSettings
from operations.retraining import settings_of_champion
settings = TrainSettings.model_validate({"promotion": {"model_name": "main"}})
changed = settings.model_copy(update={"data": settings.data.model_copy(update={"source": settings.data.source.model_copy(update={"seed": 1})})})
print(settings_of_champion(settings).data.source.num_images, settings_of_champion(changed).data.source.num_images)
"""


def test_the_monitor_retrains_with_the_settings_of_the_champion(site, trained, tmp_path):
    (tmp_path / "repeated.py").write_text(REPEATED)

    out, _ = site.run(program=str(tmp_path / "repeated.py"), PYTHONPATH=str(PROJECT))

    assert out.split()[-2:] == ["60", "600"]


def test_a_model_that_waits_is_approved_by_a_person(site, trained):
    waiting = site.train("approval", "--set", "promotion.approval=manual")

    assert waiting["outcome"] == "awaiting approval"
    assert site.json("versions", "--model", "approval")["champion"] is None
    approved = site.json("approve", waiting["model_version"], "--model", "approval")
    assert approved == {"model_name": "approval", "champion": waiting["model_version"], "before": None}
    assert "champion" in site.run("versions", "--model", "approval")[0]


def test_versions_are_compared_on_the_same_images(site, trained):
    site.train("compared", "--no-cache")
    site.train("compared", "--set", "training.seed=4")
    site.train("compared", "--set", "training.seed=5")

    result = site.json("compare", "2", "1", "3", "--model", "compared")

    assert result["num_images"] == 6
    assert [one["version"] for one in result["versions"]] == ["2", "1", "3"]
    assert [one["difference"] is None for one in result["versions"]] == [True, False, False]
    assert all(one["metrics"]["milliseconds_per_image"] > 0 for one in result["versions"])
    assert "expected two versions or more" in site.run("compare", "1", "--model", "compared", expect=2)[1]
    assert "accuracy" in site.run("compare", "1", "2", "--model", "compared")[0]
    _, err = site.run("compare", "1", "77", "--model", "compared", expect=1)
    assert "expected version '77' of 'compared', got only: 1, 2, 3" in err


def test_real_photographs_of_ants_and_bees_work_with_the_folder_alone(site, photographs, tmp_path):
    result = site.json("train", "--data", str(photographs / "antsbees"), "--set", "promotion.model_name=ants")

    assert result["class_names"] == ["ant", "bee"]
    assert result["accuracy"] > 0.85
    assert result["outcome"] == "champion"
