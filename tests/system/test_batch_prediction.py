"""`predict --pipeline` as a user runs it: killed in the middle and gone on with, from and to a bucket, shown in ZenML and the reports."""

import json
import signal
import time
from pathlib import Path

import pandas as pd
import pytest
import s3fs

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("prediction")]
MODEL = "batched"


@pytest.fixture(scope="module")
def trained(site):
    return site.train(MODEL)


@pytest.fixture
def folder(site, trained, tmp_path):
    """The images of the training eight times over, by names of their own, and a text."""
    images = tmp_path / "new images"
    images.mkdir()
    for copy in range(8):
        for number, file in enumerate(sorted(Path(trained["folder"]).rglob("*.*"))):
            (images / f"{copy}-{number}{file.suffix}").write_bytes(file.read_bytes())
    (images / "text.jpg").write_text("no image")
    return images


def stop_after_two_parts(process, output: Path, number: signal.Signals) -> str:
    """What it said on standard error."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(list(output.glob("*.parquet"))) < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(number)
    return str(process.communicate(timeout=120)[1])


def test_ctrl_c_is_one_sentence(site, folder, tmp_path):
    process = site.start(
        "predict", "--pipeline", str(folder), "--model", MODEL, "--to", str(tmp_path / "out"), "--set", "part_images=4"
    )

    said = stop_after_two_parts(process, tmp_path / "out", signal.SIGINT)

    assert "error: stopped; the same command goes on where it can" in said
    assert process.returncode == 130
    assert "unexpected error" not in said


def test_a_killed_run_goes_on_where_it_was(site, folder, tmp_path):
    output = tmp_path / "out"
    given = ("predict", "--pipeline", str(folder), "--model", MODEL, "--to", str(output), "--set", "part_images=16")
    process = site.start(*given)
    stop_after_two_parts(process, output, signal.SIGKILL)
    left = {part.name: part.stat().st_mtime_ns for part in output.glob("*.parquet")}

    result = site.json(*given)

    table = pd.read_parquet(output)
    num_files = len(list(folder.iterdir()))
    assert result["images"] == num_files == len(table) == table["path"].nunique()
    assert result["kept_parts"] == len(left) >= 2
    assert result["parts"] + result["kept_parts"] == -(-num_files // 16)
    assert {name: (output / name).stat().st_mtime_ns for name in left} == left
    assert not [file for file in output.iterdir() if file.name.endswith(".tmp")]
    assert result["refused"] == {"not_an_image": 1}
    assert sum(result["labels"].values()) == num_files - 1
    assert table["run"].nunique() == 2
    assert (output / "_report.html").read_text().startswith("<!doctype html>")


def test_the_report_of_the_run_is_that_of_the_dashboard(site, folder, tmp_path):
    given = ("predict", "--pipeline", str(folder), "--model", MODEL)
    result = site.json(*given)

    written = site.json("report", result["run"], "--to", str(tmp_path / "report"))

    assert Path(result["output"]).parent == site.home / "predictions"
    assert {Path(file).name for file in written["files"]} == {"index.html", "images.html", "summary.html"}
    page = (tmp_path / "report" / "summary.html").read_text()
    assert "Images by class" in page
    assert "Feature groups" in page
    assert "<img" in page
    again = site.json(*given)
    assert (again["output"], again["parts"]) == (result["output"], 0)  # nothing has changed


LINEAGE = """
import json, sys
from zenml.client import Client

run = Client().get_pipeline_run(sys.argv[1])
(package,) = run.steps["predict_images"].inputs["package"]
print(json.dumps({
    "artifact": package.name,
    "made_by": Client().get_pipeline_run(package.producer_pipeline_run_id).steps["register"].outputs["registration"][0].load().version,
    "model_version": run.model_version.run_metadata["registry_version"],
}))
"""


def test_zenml_shows_which_training_made_the_model_that_predicts(site, trained, folder, tmp_path):
    run = site.json("predict", "--pipeline", str(folder), "--model", MODEL, "--version", "1")["run"]

    (tmp_path / "lineage.py").write_text(LINEAGE)
    lineage = json.loads(site.run(run, program=str(tmp_path / "lineage.py"), ZENML_LOGGING_VERBOSITY="ERROR")[0].splitlines()[-1])

    assert lineage == {"artifact": "package", "made_by": "1", "model_version": "1"}


def test_a_bucket_gives_images_and_takes_predictions(site, folder, s3, sharing):
    keys = {name: value for name, value in sharing.items() if name.startswith("AWS_")}
    bucket = s3fs.S3FileSystem(
        key=keys["AWS_ACCESS_KEY_ID"], secret=keys["AWS_SECRET_ACCESS_KEY"], client_kwargs={"endpoint_url": s3}
    )
    for file in sorted(folder.iterdir())[:40]:
        bucket.pipe_file(f"imageloop/incoming/{file.name}", file.read_bytes())
    site = type(site)(site.home, site.environment | keys)

    result = site.json(
        "predict",
        "--pipeline",
        "s3://imageloop/incoming",
        "--model",
        MODEL,
        "--to",
        "s3://imageloop/predictions",
        "--set",
        "part_images=30",
    )

    parts = sorted(name for name in bucket.ls("imageloop/predictions", detail=False) if name.endswith(".parquet"))
    table = pd.concat([pd.read_parquet(bucket.open(name)) for name in parts])
    assert (result["images"], result["parts"], len(table)) == (40, 2, 40)
    assert set(table["path"]) == {f"s3://imageloop/incoming/{file.name}" for file in sorted(folder.iterdir())[:40]}
    assert bucket.exists("imageloop/predictions/_report.html")


@pytest.mark.parametrize(
    ("given", "message", "code"),
    [
        (("--pipeline",), "inputs: expected images, folders or a manifest, got none", 2),
        (("--pipeline", "nowhere"), "expected an image or a folder, got nothing at", 2),
        (("--pipeline", "s3://no-such-bucket/images"), "expected to read 's3://no-such-bucket/images', got", 1),
        (("--pipeline", "IMAGES", "--cron", "0 3 * * *"), "expected an orchestrator that supports schedules", 2),
        (("--pipeline", "IMAGES", "--cron", "daily"), "--cron: expected 5 fields", 2),
        (("IMAGES", "--remove-schedule"), "expected --pipeline with them", 2),
        (("--pipeline", "records://default/batched?colour=red"), "expected a query of label, version", 2),
        (("--pipeline", "IMAGES", "--csv"), "--pipeline: expected neither --explain nor --csv", 2),
        (
            ("--pipeline", "IMAGES", "--set", "part_size=3"),
            "part_size: there is no such key (got '3'); did you mean 'part_images'?",
            2,
        ),
        (("--pipeline", "IMAGES", "--version", "99"), "99", 1),
        (("IMAGES", "--to", "out"), "expected --pipeline with them", 2),
        ((), "expected images or folders of images, got none", 2),
    ],
)
def test_bad_input_is_one_sentence(site, folder, sharing, given, message, code):
    words = [str(folder) if word == "IMAGES" else word for word in given]
    keys = {name: value for name, value in sharing.items() if name.startswith("AWS_")}

    _, err = site.run("predict", *words, "--model", MODEL, expect=code, **keys)

    assert message in err.rpartition("error: ")[2]
    assert "Traceback" not in err


def test_a_ray_cluster_that_does_not_respond_is_named_before_a_run_begins(site, folder):
    _, err = site.run("predict", "--pipeline", str(folder), "--model", MODEL, expect=2, RAY_ADDRESS="127.0.0.1:1")

    assert "RAY_ADDRESS: expected a Ray cluster at '127.0.0.1:1', got no response" in err
