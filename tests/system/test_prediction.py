"""`predict` on files and folders, and the registered model by MLflow's own door."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys

import pytest
from PIL import Image

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("prediction")]


@pytest.fixture(scope="module")
def trained(site):
    return site.train("predicting")


@pytest.fixture
def mixed(site, trained, tmp_path):
    """Three images, a text that calls itself one, and a name with a space."""
    for index in range(3):
        Image.effect_noise((200, 150), 60).convert("RGB").save(tmp_path / f"image {index}.jpg")
    (tmp_path / "text.jpg").write_text("no image")
    return tmp_path


def test_a_table_goes_on_after_bad_files_and_lists_them(site, mixed):
    out, _ = site.run("predict", str(mixed), "--model", "predicting", expect=1)

    predicted, refused = out.split("refused 1  ")
    assert predicted.count(str(mixed)) == 3
    assert "text.jpg  not_an_image" in refused
    assert "3 images by predicting 1" in out


def test_json_is_one_document_and_csv_has_its_columns(site, mixed):
    result = json.loads(site.run("predict", str(mixed), "--model", "predicting", "--json", expect=1)[0])
    rows = list(csv.DictReader(io.StringIO(site.run("predict", str(mixed), "--model", "predicting", "--csv", expect=1)[0])))

    assert len(result["predictions"]) == 3
    assert abs(sum(result["predictions"][0]["probabilities"].values()) - 1) < 1e-5
    assert [row["label"] for row in rows] == [row["label"] for row in result["predictions"]] + [""]
    assert list(rows[0]) == ["path", "label", "probability", "in_distribution", "reason"]
    assert {row["in_distribution"] for row in rows[:3]} <= {"yes", "no"}
    assert rows[-1]["reason"].startswith("not_an_image: plain text")


def test_heat_maps_are_written_as_images(site, mixed, tmp_path):
    result = site.json("predict", str(mixed / "image 0.jpg"), "--model", "predicting", "--explain", str(tmp_path / "maps"))

    with Image.open(result["predictions"][0]["heat_map"]) as heat_map:
        assert heat_map.size == (448, 244)


def test_the_exact_model_can_be_chosen(site, mixed):
    assert site.json("predict", str(mixed / "image 0.jpg"), "--model", "predicting", "--exact")["precision"] == "fp32"


def test_a_missing_file_costs_its_own_row_alone(site, mixed):
    result = json.loads(
        site.run("predict", str(mixed / "image 0.jpg"), str(mixed / "gone.jpg"), "--model", "predicting", "--json", expect=1)[0]
    )

    assert [one["path"] for one in result["predictions"]] == [str(mixed / "image 0.jpg")]
    assert result["refused"] == [
        {"path": str(mixed / "gone.jpg"), "reason": "unreadable: cannot be read (No such file or directory)"}
    ]


def test_a_missing_file_or_version_is_one_sentence(site, trained, tmp_path):
    for arguments, code, words in [
        ((str(tmp_path / "gone.jpg"),), 2, "got nothing"),
        ((str(tmp_path),), 1, "got no file"),
        ((__file__, "--model", "unknown"), 1, "train a model first"),
        ((__file__, "--model", "predicting", "--version", "9"), 1, "got only: 1"),
    ]:
        _, err = site.run("predict", *arguments, expect=code)
        assert words in err
        assert "Traceback" not in err


def test_a_package_that_was_changed_in_the_registry_is_refused(site, mixed):
    site.train("tampered")
    packages = [path for path in (site.workspace.state / "mlartifacts").rglob("model.onnx")]
    newest = max(packages, key=lambda path: path.stat().st_mtime)
    newest.write_bytes(newest.read_bytes() + b"x")

    _, err = site.run("predict", str(mixed), "--model", "tampered", "--exact", expect=1)

    assert "is not what was signed" in err
    after = site.train("tampered", "--set", "training.seed=2")
    assert after["outcome"] == "awaiting approval"
    assert "champion 1 cannot be verified: not comparable, approval is needed" in after["reason"]
    site.run("approve", after["model_version"], "--model", "tampered")
    site.run("predict", str(mixed / "image 0.jpg"), "--model", "tampered")

    shutil.rmtree(max(site.workspace.state.glob("mlartifacts/**/data"), key=lambda path: path.stat().st_mtime))
    lost = site.train("tampered", "--set", "training.seed=3")
    assert lost["outcome"] == "awaiting approval"


def test_mlflow_loads_the_champion(site, mixed, trained):
    program = (
        "import mlflow, sys, pathlib; model = mlflow.pyfunc.load_model('models:/predicting@champion');"
        "print(model.predict([pathlib.Path(sys.argv[1]).read_bytes()]).columns.tolist())"
    )
    address = f"sqlite:///{site.workspace.state}/mlflow.db"

    done = subprocess.run(
        [sys.executable, "-c", program, mixed / "image 0.jpg"],
        env=os.environ | site.environment | {"MLFLOW_TRACKING_URI": address}, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert "['cat', 'dog', 'label']" in done.stdout
