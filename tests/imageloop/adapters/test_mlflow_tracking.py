import subprocess
import sys

import pytest
from mlflow import MlflowClient

from imageloop.abandoned_work import process_mark
from imageloop.adapters import mlflow_tracking
from imageloop.adapters.mlflow_tracking import ensure_experiment

MAKE = """
import sys
from imageloop.adapters.mlflow_tracking import ensure_experiment
from imageloop.workspace_paths import Workspace
ensure_experiment(sys.argv[1], "pets", Workspace.current())
"""


def test_two_first_processes_create_one_database(workspace):
    address = f"sqlite:///{workspace.state}/mlflow.db"
    processes = [subprocess.Popen([sys.executable, "-c", MAKE, address], stderr=subprocess.PIPE) for _ in range(2)]

    said = [process.communicate(timeout=240)[1].decode() for process in processes]

    assert [process.returncode for process in processes] == [0, 0], said
    ensure_experiment(address, "pets", workspace)
    assert [one.name for one in MlflowClient(address).search_experiments(filter_string="name = 'pets'")] == ["pets"]
    assert [file.name for file in workspace.state.glob("*mlflow.db*")] == ["mlflow.db"]


@pytest.fixture
def client(tmp_path, monkeypatch):
    address = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setattr(mlflow_tracking, "connect", lambda: address)
    return MlflowClient(address)


def test_runs_of_killed_processes_are_closed_and_those_of_others_are_not(client):
    experiment = client.create_experiment("imageloop")
    marks = {
        "mine": process_mark(),
        "gone": f"{process_mark().partition('/')[0]}/999999999",
        "elsewhere": "another-machine/1",
        "old": "",
    }
    runs = {
        name: client.create_run(experiment, run_name=name, tags={mlflow_tracking.PROCESS: mark} if mark else {}).info.run_id
        for name, mark in marks.items()
    }

    mlflow_tracking.close_abandoned_runs("imageloop")
    mlflow_tracking.close_abandoned_runs("an experiment that is none")

    status = {name: client.get_run(run_id).info.status for name, run_id in runs.items()}
    assert status == {"mine": "RUNNING", "gone": "KILLED", "elsewhere": "RUNNING", "old": "RUNNING"}
