"""A team's site: ZenML's server on MariaDB, MLflow's on PostgreSQL, both over HTTP and with a login."""

import json
from pathlib import Path

import pytest
import requests
import yaml

from tests import servers
from tests.system.conftest import SMOKE, Site

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("remote")]
PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def zenml(tmp_path_factory):
    with (
        servers.mariadb(tmp_path_factory.mktemp("mariadb")) as store,
        servers.zenml_server(tmp_path_factory.mktemp("zenml"), store) as found,
    ):
        yield found


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory):
    with (
        servers.postgresql(tmp_path_factory.mktemp("postgresql")) as store,
        servers.mlflow_server(tmp_path_factory.mktemp("mlflow"), store) as url,
    ):
        yield url


@pytest.fixture(scope="module")
def stack_file(tmp_path_factory, mlflow) -> Path:
    """As `local`, but for its tracker."""
    values = yaml.safe_load((PROJECT / "stacks" / "local.yaml").read_text())
    values["name"] = "team"
    for component in values["components"].values():
        component["name"] = "imageloop-team"
    credentials = {"tracking_username": "${TEAM_USER}", "tracking_password": "${TEAM_PASSWORD}"}
    values["components"]["experiment_tracker"]["config"] |= {"tracking_uri": mlflow} | credentials
    file = tmp_path_factory.mktemp("stack") / "team.yaml"
    file.write_text(yaml.safe_dump(values, default_style='"'))
    return file


@pytest.fixture(scope="module")
def team(site, tmp_path_factory, zenml) -> Site:
    root = tmp_path_factory.mktemp("team")
    (root / "home").mkdir()
    url, key = zenml
    places = {"IMAGELOOP_HOME": str(root / "home"), "ZENML_CONFIG_PATH": str(root / "zenml"), "ZENML_REPOSITORY_PATH": str(root)}
    login = {"ZENML_STORE_URL": url, "ZENML_STORE_API_KEY": key, "TEAM_USER": "admin", "TEAM_PASSWORD": servers.PASSWORD}
    return Site(root / "home", site.environment | places | login)


def stacks(zenml) -> dict[str, dict]:
    url, _ = zenml
    found = requests.get(f"{url}/api/v1/stacks?hydrate=true", headers=servers.zenml_admin(url), timeout=30).json()
    return {stack["name"]: stack for stack in found["items"]}


def test_stacks_are_registered_once_and_follow_their_files(team, zenml, stack_file):
    team.run(
        "--activate", "team", *map(str, sorted((PROJECT / "stacks").glob("*.yaml"))), str(stack_file), program="stacks/apply.py"
    )
    before = stacks(zenml)
    team.run("--activate", "team", str(stack_file), program="stacks/apply.py")
    values = yaml.safe_load(stack_file.read_text())
    changed = stack_file.with_name("changed.yaml")
    values["components"]["alerter"]["config"]["alertmanager"] = "http://127.0.0.1:9093"
    changed.write_text(yaml.safe_dump(values, default_style='"'))
    team.run("--activate", "team", str(changed), program="stacks/apply.py")

    after = stacks(zenml)
    assert {"default", "kubernetes", "local", "team"} == set(before) == set(after)
    assert {name: stack["id"] for name, stack in before.items()} == {name: stack["id"] for name, stack in after.items()}


def test_training_over_http_with_a_login_is_tracked_and_registered(team, zenml, mlflow, stack_file):
    team.run("--activate", "team", str(stack_file), program="stacks/apply.py")

    trained = team.json("train", *SMOKE, "--set", "promotion.model_name=team")

    assert (trained["stack"], trained["outcome"], trained["model_version"]) == ("team", "champion", "1")
    credentials = ("admin", servers.PASSWORD)
    found = requests.get(f"{mlflow}/api/2.0/mlflow/runs/get?run_id={trained['tracking_run']}", auth=credentials, timeout=30)
    assert "test_accuracy" in {metric["key"] for metric in found.json()["run"]["data"]["metrics"]}
    assert team.json("versions", "--model", "team")["champion"] == "1"
    assert len(trained["tried"]) > 0


def test_a_wrong_login_is_said_in_a_sentence(team, stack_file):
    wrong = Site(team.home, team.environment | {"TEAM_PASSWORD": "wrong-and-long-enough"})
    wrong.run("--activate", "team", str(stack_file), program="stacks/apply.py")

    _, error = wrong.run("versions", "--model", "team", expect=1)

    assert "Traceback" not in error
    assert json.dumps(error).count("\\n") < 12
