import subprocess
import sys

from mlflow import MlflowClient

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
