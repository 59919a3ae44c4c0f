"""What a command shows and refuses on another stack, from another folder, and beside a second ZenML store."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from seldon.delivery.clusters.settings import LocalSettings
from seldon.delivery.deployer.last_deployment import Deployed, read_deployed, write_deployed

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("prediction")]
PROJECT = Path(__file__).parents[2]


def zenml(site, *arguments: str) -> str:
    command = [str(Path(sys.executable).with_name("zenml")), *arguments]
    done = subprocess.run(command, env=site.environment, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def on_compose(site):
    zenml(site, "stack", "set", "compose")
    yield site
    zenml(site, "stack", "set", "local")


def active_id(site) -> str:
    file = Path(site.environment["ZENML_REPOSITORY_PATH"], ".zen", "config.yaml")
    return yaml.safe_load(file.read_text())["active_stack_id"]


@pytest.mark.parametrize("command", [("versions",), ("predict", "."), ("train",), ("deploy",)])
def test_a_stack_whose_servers_are_elsewhere_is_refused_with_their_address(on_compose, command):
    _, err = on_compose.run(*command, expect=2)

    assert "expected the MLflow server of the stack 'compose' at http://mlflow:5000, got no response" in err
    assert "set IMAGELOOP_MLFLOW_URI" in err


def test_status_shows_nothing_of_another_stack(site):
    write_deployed(
        site.workspace, Deployed(cluster=LocalSettings(), namespace="default", name="a", stack="local", stack_id=active_id(site))
    )
    zenml(site, "stack", "set", "compose")
    try:
        for command in ("status", "rollback", "down"):
            _, err = site.run(command, expect=2)
            assert "the MLflow server of the stack 'compose'" in err
    finally:
        zenml(site, "stack", "set", "local")

    assert read_deployed(site.workspace, active_id(site)).name == "a"


def test_two_stores_beside_one_checkout_keep_their_stacks(site, tmp_path):
    other = {"ZENML_CONFIG_PATH": str(tmp_path / "zenml")}
    site.run("versions")  # this store has used its stack here
    before = active_id(site)

    _, err = site.run("versions", expect=2, fresh=True, **other)  # a new store: none of its stacks is active here
    assert "run: make setup" in err
    assert active_id(site) == before, "the second store changed the file of both"

    site.run("--activate", "local", program="stacks/apply.py", **other)
    assert active_id(site) != before
    for _ in range(2):
        site.json("versions")
        assert site.json("versions", fresh=True, **other)["versions"] == []
    zenml(site, "stack", "set", "local")


def test_a_tracker_that_cannot_work_is_not_registered(site, tmp_path):
    file = tmp_path / "own.yaml"
    stack = yaml.safe_load((PROJECT / "stacks" / "local.yaml").read_text())
    stack["components"]["experiment_tracker"] = {"name": "own", "flavor": "wandb", "config": {}}
    file.write_text(json.dumps(stack | {"name": "own"}))

    _, err = site.run(str(file), program="stacks/apply.py", expect=1)

    assert "expected the experiment tracker of the stack 'own' to be of the flavor 'mlflow', got 'wandb'" in err
    assert "'own'" not in zenml(site, "stack", "list")


def test_a_cron_job_in_another_folder_uses_the_stack_of_the_project(site, tmp_path):
    copy, home = tmp_path / "a clone", tmp_path / "home"
    home.mkdir()
    shutil.copytree(PROJECT / "stacks", copy / "stacks")
    shutil.copy(PROJECT / "run.py", copy)
    for name in ("imageloop", "cli", "operations", "seldon", "steps", "pipelines", "materializers", "configs"):
        (copy / name).symlink_to(PROJECT / name)
    environment = {
        name: value for name, value in site.environment.items() if name not in ("ZENML_REPOSITORY_PATH", "ZENML_CUSTOM_SOURCE_ROOT")
    } | {"PYTHONPATH": str(copy), "IMAGELOOP_HOME": str(home), "ZENML_CONFIG_PATH": str(tmp_path / "zenml")}  # fmt: skip

    def run(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )

    made = run("stacks/apply.py", "--activate", "local", folder=copy)
    assert made.returncode == 0, made.stderr
    done = run(str(copy / "run.py"), "versions", "--json", folder=Path("/"))

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["versions"] == []
