"""The search of settings as a user runs it: killed in the middle, gone on with, shown in MLflow, ZenML and the reports."""

import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import mlflow
import pytest

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("prediction")]
MODEL = "searched"
GIVEN = (
    "--set", "data.source.kind=generated", "--set", "data.source.num_images=80", "--set", f"promotion.model_name={MODEL}",
    "--set", "training.model.loop.max_epochs=20", "--set", "search.fine_tune_trials=0", "--set", "search.space.backbones=[efficientnet_lite0]",
    "--set", "promotion.export.num_calibration_images=8", "--set", "promotion.gates.min_accuracy=0.3",
    "--set", "promotion.gates.max_calibration_error=1.0", "--set", "promotion.gates.min_class_recall=0.0", "--set", "search.study=hers",
)  # fmt: skip
NUM_TRIALS = 12


@pytest.fixture(scope="module")
def tuned(site) -> dict:
    """A search that was killed after its first trials and has gone on."""
    process = site.start("tune", *GIVEN, "--trials", str(NUM_TRIALS))
    database = site.workspace.state / "tuning.db"
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and _num_ended(database) < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = _num_ended(database)
    return site.json("tune", *GIVEN, "--trials", str(NUM_TRIALS)) | {"before": before}


def _num_ended(database: Path) -> int:
    """Read with SQL alone: Optuna, opened here while the search makes its tables, would make them as well."""
    if not database.exists():
        return 0
    query = "SELECT count(*) FROM trials JOIN studies USING (study_id) WHERE study_name = 'hers-heads' AND state IN ('COMPLETE', 'PRUNED', 'FAIL')"
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
            return int(connection.execute(query).fetchone()[0])
    except sqlite3.OperationalError:  # it is being made
        return 0


def test_a_search_that_was_killed_goes_on_and_its_winner_is_registered(site, tuned):
    assert 2 <= tuned["before"] <= tuned["trials"]
    assert NUM_TRIALS <= tuned["trials"] <= NUM_TRIALS + 1  # the one that was cut off counts, too
    assert tuned["validation_loss"] <= tuned["default_loss"]
    assert tuned["model_name"] == MODEL
    assert {version["version"] for version in site.json("versions", "--model", MODEL)["versions"]} == {tuned["model_version"]}


def test_trials_are_runs_of_mlflow_within_that_of_the_training(site, tuned):
    client = mlflow.MlflowClient(f"sqlite:///{site.workspace.state / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("imageloop")
    nested = client.search_runs(
        [experiment.experiment_id], f"tags.`mlflow.parentRunId` = '{tuned['tracking_run']}'", max_results=50
    )

    assert len(nested) >= NUM_TRIALS - tuned["before"]
    assert all(run.info.run_name.startswith("heads ") for run in nested)
    assert any("validation/loss" in run.data.metrics and "model.loop.learning_rate" in run.data.params for run in nested)


def test_the_report_shows_the_trials_and_the_charts_of_the_study(site, tuned, tmp_path):
    site.run("report", tuned["run"], "--to", str(tmp_path))

    assert "Trials, the best first" in (tmp_path / "search.html").read_text()
    assert len(list(tmp_path.glob("search-*.png"))) >= 2


def test_the_winner_can_be_trained_again_without_a_search(site, tuned):
    overrides = [word for override in tuned["overrides"] for word in ("--set", override)]
    given = [word for word in GIVEN if not word.startswith("search.")]
    given = [word for place, word in enumerate(given) if word != "--set" or given[place + 1 : place + 2] not in ([], ["--set"])]
    trained = site.json("train", *given, *overrides)

    assert trained["accuracy"] == tuned["accuracy"]


@pytest.mark.parametrize(
    ("given", "message", "code"),
    [
        (
            ("--set", "search.study=hers", "--set", "search.space.label_smoothing=[0,0.1]"),
            "study 'hers' was begun with, got others",
            2,
        ),
        (("--set", "search.storage=postgresql+psycopg://loop:secret@127.0.0.1:1/studies"), "expected Optuna's database at", 1),
        (("--set", "training.model.kind=baseline_cnn"), "expected transfer for a search, got baseline_cnn", 2),
        (("--trials", "0"), "search.trials", 2),
    ],
)
def test_bad_input_is_one_sentence(site, tuned, given, message, code):
    _, err = site.run("tune", *GIVEN, *given, expect=code)

    assert message in err
    assert "secret" not in err
