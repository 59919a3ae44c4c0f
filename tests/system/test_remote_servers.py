"""The site of compose.yaml, its servers being real ones of this machine: ZenML on MariaDB, MLflow on PostgreSQL with a login, an S3 store."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import psutil
import pytest
import requests
import yaml

from imageloop.data.settings import Drift
from imageloop.data.sources.draw_animals import draw_image
from imageloop.lifecycle.feedback_for_training import open_database
from seldon.delivery.clusters.local.site_folders import free_port
from tests import servers
from tests.system.conftest import Site, package_hashes
from tests.system.two_lines import two_lines, zenml_command

pytestmark = [pytest.mark.system, pytest.mark.acceptance, pytest.mark.xdist_group("remote")]
PROJECT = Path(__file__).parents[2]
STACK = PROJECT / "stacks" / "compose.yaml"
API_KEY = "a-key-that-is-long-enough"


@pytest.fixture(scope="module")
def team(site, tmp_path_factory, zenml, mlflow, postgresql, s3) -> Site:
    """What compose.yaml sets for the container `imageloop`."""
    root = tmp_path_factory.mktemp("team")
    (root / "home").mkdir()
    url, _ = zenml
    settings = {
        "IMAGELOOP_HOME": str(root / "home"), "ZENML_CONFIG_PATH": str(root / "zenml"), "ZENML_REPOSITORY_PATH": str(root / "repository"),
        "ZENML_STORE_URL": url, "ZENML_STORE_USERNAME": "admin", "ZENML_STORE_PASSWORD": servers.PASSWORD,
        "IMAGELOOP_MLFLOW_URI": mlflow, "IMAGELOOP_MLFLOW_USER": "admin", "IMAGELOOP_MLFLOW_PASSWORD": servers.PASSWORD,
        "IMAGELOOP_S3_URL": s3, "AWS_ACCESS_KEY_ID": "imageloop", "AWS_SECRET_ACCESS_KEY": servers.PASSWORD,
        "IMAGELOOP_DATABASE": servers.create_database(postgresql, "records"), "IMAGELOOP_GATEWAY_HOST": "127.0.0.1",
        "IMAGELOOP_GATEWAY_PORT": str(free_port()), "IMAGELOOP_API_KEY": API_KEY,
        "IMAGELOOP_API_KEYS": f"site:predict+feedback+metrics:{API_KEY}", "IMAGELOOP_ALERTMANAGER": "http://127.0.0.1:9",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }  # fmt: skip
    return Site(root / "home", site.environment | settings)


def stacks(zenml) -> dict[str, dict]:
    url, _ = zenml
    found = requests.get(f"{url}/api/v1/stacks?hydrate=true", headers=servers.zenml_admin(url), timeout=30).json()
    return {stack["name"]: stack for stack in found["items"]}


def lasts_minutes(zenml, stack: dict) -> int:
    """The notifications of the stack's alerter."""
    url, _ = zenml
    alerter = stack["metadata"]["components"]["alerter"][0]["id"]
    found = requests.get(f"{url}/api/v1/components/{alerter}?hydrate=true", headers=servers.zenml_admin(url), timeout=30).json()
    return int(found["metadata"]["configuration"]["lasts_minutes"])


@contextlib.contextmanager
def started(team: Site, log: Path) -> Iterator[str]:
    """The command of the container, until it is stopped; the address of the service."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [PROJECT / "deploy" / "compose" / "start.sh"], env=team.environment, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + 900  # a whole training comes first
        while subprocess.run([PROJECT / "deploy" / "compose" / "healthy.py"], env=team.environment, capture_output=True, check=False).returncode:  # fmt: skip
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(3)
        yield f"http://127.0.0.1:{team.environment['IMAGELOOP_GATEWAY_PORT']}/seldon/default/imageloop"
        assert process.poll() is None, log.read_text()[-3000:]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()[-3000:]
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
            team.run("down")


def test_stacks_are_registered_once_and_follow_their_files(team, zenml, tmp_path):
    team.run("--activate", "compose", program="stacks/apply.py")
    before = stacks(zenml)
    team.run(program="stacks/apply.py")
    values = yaml.safe_load(STACK.read_text())
    values["components"]["alerter"]["config"]["lasts_minutes"] = 5
    changed = tmp_path / "changed.yaml"
    changed.write_text(yaml.safe_dump(values, default_style='"'))
    team.run(str(changed), program="stacks/apply.py")
    _, said = team.run("--activate", "local", program="stacks/apply.py")  # as `make setup` does

    assert "stack 'compose' stays as it was registered; python stacks/apply.py" in said
    after = stacks(zenml)
    assert {"default", "kubernetes", "local", "compose"} == set(before) == set(after)
    assert {name: stack["id"] for name, stack in before.items()} == {name: stack["id"] for name, stack in after.items()}
    assert lasts_minutes(zenml, after["compose"]) == 5


@pytest.fixture
def few_rights(team, zenml, mlflow, tmp_path) -> Site:
    """A user who is an administrator of neither server, and may read nothing of MLflow that others made."""
    url, _ = zenml
    user = {"name": "few", "password": servers.PASSWORD, "active": True, "is_admin": False}
    requests.post(f"{url}/api/v1/users", json=user, headers=servers.zenml_admin(url), timeout=30).raise_for_status()
    login = {"username": "few", "password": servers.PASSWORD}
    requests.post(
        f"{mlflow}/api/2.0/mlflow/users/create", json=login, auth=("admin", servers.PASSWORD), timeout=30
    ).raise_for_status()
    own = {
        "ZENML_CONFIG_PATH": str(tmp_path / "zenml"), "ZENML_REPOSITORY_PATH": str(tmp_path), "ZENML_STORE_USERNAME": "few",
        "IMAGELOOP_MLFLOW_USER": "few", "IMAGELOOP_HOME": str(tmp_path / "home"),
    }  # fmt: skip
    (tmp_path / "home").mkdir()
    return Site(tmp_path / "home", team.environment | own)


def test_a_person_with_few_rights_registers_the_same_stacks(few_rights, zenml):
    before = stacks(zenml)

    few_rights.run("--activate", "compose", program="stacks/apply.py")

    assert {name: stack["id"] for name, stack in before.items()} == {name: stack["id"] for name, stack in stacks(zenml).items()}
    assert "Traceback" not in few_rights.run("versions")[1]


@pytest.mark.timeout(1800)
def test_the_site_trains_serves_monitors_and_resumes_after_a_stop(team, mlflow, s3, tmp_path):
    image = tmp_path / "cat.png"
    draw_image("cat", (5, 5), Drift()).save(image)
    with started(team, tmp_path / "first.log") as url:
        headers = {"Content-Type": "image/png", "X-API-Key": API_KEY}
        answer = requests.post(f"{url}/predict", image.read_bytes(), headers=headers, timeout=30)
        assert (answer.status_code, answer.json().get("label")) == (200, "cat")
        assert requests.post(f"{url}/predict", image.read_bytes(), timeout=30).status_code == 401
        deadline = time.monotonic() + 90
        targets = team.home / "observability" / "targets.json"
        while not _recorded(team) or not targets.exists():  # the monitor looked, and Prometheus knows whom to ask
            assert time.monotonic() < deadline, (tmp_path / "first.log").read_text()[-3000:]
            time.sleep(1)
    assert json.loads(targets.read_text())[0]["targets"]
    assert not [
        one for one in psutil.process_iter(["environ"]) if (one.info["environ"] or {}).get("IMAGELOOP_HOME") == str(team.home)
    ]

    with started(team, tmp_path / "second.log") as url:
        found = team.json("versions")

    assert (found["champion"], len(found["versions"])) == ("1", 1)
    credentials = ("admin", servers.PASSWORD)
    run = found["versions"][0]["run_id"]
    run_data = requests.get(f"{mlflow}/api/2.0/mlflow/runs/get?run_id={run}", auth=credentials, timeout=30).json()["run"]["data"]
    assert "test/accuracy" in {metric["key"] for metric in run_data["metrics"]}
    keys = {"aws_access_key_id": "imageloop", "aws_secret_access_key": servers.PASSWORD, "region_name": "us-east-1"}
    listed = boto3.client("s3", endpoint_url=s3, **keys).list_objects_v2(Bucket="imageloop", Prefix="artifacts/")
    assert any("/package/" in one["Key"] for one in listed["Contents"])


def _recorded(team: Site) -> bool:
    database = open_database(team.workspace, team.environment["IMAGELOOP_DATABASE"])
    try:
        return len(database.predictions("imageloop", newest=10)) > 0
    finally:
        database.close()


def test_another_stack_makes_the_same_model(laptop, team):
    assert package_hashes(laptop) == package_hashes(team)


def test_a_machine_reuses_the_data_of_another(laptop, team, sharing, tmp_path):
    """As one pod after another: what the first one decoded, computed and exported is not done again."""
    shutil.copytree(team.workspace.keys, tmp_path / ".imageloop" / "keys")
    pod = Site(tmp_path, team.environment | sharing | {"IMAGELOOP_HOME": str(tmp_path)})

    out, err = pod.run("train", "--set", "promotion.model_name=shared", "--set", "training.seed=8", "--json", "--no-cache")

    assert json.loads(out)["model_version"] == "1"
    assert "decoded" not in err
    assert "features of images" not in err
    assert "exporting the backbone" not in err


def test_images_of_this_machine_are_refused_for_pods_before_anything_is_built(team, zenml, draw, tmp_path):
    draw(tmp_path, cat=20, dog=20)

    kubernetes = stacks(zenml)["kubernetes"]["id"]
    _, trained = team.run("train", "--data", str(tmp_path), expect=2, ZENML_ACTIVE_STACK_ID=kubernetes)
    _, deployed = team.run("deploy", "--set", f"afterwards.data={tmp_path}", expect=2, ZENML_ACTIVE_STACK_ID=kubernetes)

    assert f"got '{tmp_path}' of this machine" in trained
    assert f"got '{tmp_path}' of this machine" in deployed


def test_a_wrong_login_is_one_sentence(team):
    wrong = Site(team.home, team.environment | {"IMAGELOOP_MLFLOW_PASSWORD": "wrong-and-long-enough"})
    wrong.run(str(STACK), program="stacks/apply.py")

    _, error = wrong.run("versions", expect=1)

    assert "Traceback" not in error
    assert json.dumps(error).count("\\n") < 12


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("stack", ["local", "compose"])
def test_the_same_two_lines_train_and_serve_on_each_stack(team, stack, tmp_path):
    """Nothing else differs. On a cluster the same is in tests/system/test_pods.py."""
    team.run(program="stacks/apply.py")  # other tests registered stacks of other homes, and another password
    team.run(str(STACK), program="stacks/apply.py")
    try:
        two_lines(team, stack, API_KEY, tmp_path)
    finally:
        zenml_command(team, "stack", "set", "compose")
