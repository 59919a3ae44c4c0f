"""compose.yaml with a real Docker daemon: the containers that are ours, beside real servers of this machine in place of the others."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import requests

from imageloop.data.settings import Drift
from imageloop.data.sources.draw_animals import draw_image
from seldon.delivery.clusters.local.site_folders import free_port
from tests import servers

PROJECT = Path(__file__).parents[2]
IMAGE = os.environ.get("IMAGELOOP_TEST_SITE_IMAGE")
COMPOSE = next((command for command in (["docker-compose"], ["docker", "compose"]) if shutil.which(command[0])), [])
pytestmark = [
    pytest.mark.skipif(not IMAGE or not COMPOSE, reason=".ci/container-image --all builds the image"),
    pytest.mark.xdist_group("images"),
    pytest.mark.timeout(1200),
]


@pytest.fixture(scope="module")
def secrets() -> dict[str, str]:
    done = subprocess.run([PROJECT / "deploy" / "compose" / "secrets.sh", "-"], capture_output=True, text=True, check=True).stdout
    return dict(line.split("=") for line in done.splitlines())


@pytest.fixture(scope="module")
def compose(tmp_path_factory, secrets):
    """compose("ps", ...) on a project of the test's own; the containers share this machine's network, and find its servers there."""
    folder = tmp_path_factory.mktemp("compose")
    ports = {name: free_port() for name in ("mlflow", "gateway")}
    with (
        servers.mariadb(tmp_path_factory.mktemp("mariadb")) as store,
        servers.zenml_server(tmp_path_factory.mktemp("zenml"), store) as (zenml, _),
        servers.postgresql(tmp_path_factory.mktemp("postgresql")) as mlflow_store,
        servers.s3(tmp_path_factory.mktemp("s3")) as s3,
    ):
        here = {
            "mlflow": {
                "MLFLOW_BACKEND_STORE_URI": mlflow_store, "MLFLOW_SERVER_ALLOWED_HOSTS": f"127.0.0.1:{ports['mlflow']}",
                "MLFLOW_BIND": "127.0.0.1", "MLFLOW_BIND_PORT": str(ports["mlflow"]),
            },
            "imageloop": {
                "ZENML_STORE_URL": zenml, "ZENML_STORE_PASSWORD": servers.PASSWORD, "IMAGELOOP_S3_URL": s3,
                "IMAGELOOP_MLFLOW_URI": f"http://127.0.0.1:{ports['mlflow']}", "IMAGELOOP_GATEWAY_PORT": str(ports["gateway"]),
                "IMAGELOOP_DATABASE": servers.create_database(mlflow_store, "records"), "IMAGELOOP_ALERTMANAGER": "http://127.0.0.1:9",
            },
        }  # fmt: skip
        lines = ["services:"]
        for name, environment in here.items():
            lines += [f"  {name}:", "    network_mode: host", "    ports: !reset []", "    networks: !reset null"]
            lines += [
                "    depends_on: !reset null",
                f"    environment: {json.dumps(environment)}",
                "    healthcheck: {disable: true}",
            ]
        (folder / "here.yaml").write_text("\n".join(lines))
        (folder / "env").write_text("\n".join(f"{name}={value}" for name, value in secrets.items()))
        files = ["-f", PROJECT / "compose.yaml", "-f", folder / "here.yaml", "--env-file", folder / "env"]
        project = ["-p", f"imageloop-test-{os.getpid()}"]

        def compose(*arguments: str) -> str:
            done = subprocess.run(
                [*COMPOSE, *files, *project, *arguments], capture_output=True, text=True, check=False, cwd=PROJECT
            )
            assert done.returncode == 0, done.stderr[-3000:]
            return done.stdout

        compose.url = f"http://127.0.0.1:{ports['gateway']}/seldon/default/imageloop"
        yield compose
        compose("down", "-v", "-t", "5")


def predicted_label(url: str, key: str, image: Path) -> str | None:
    headers = {"Content-Type": "image/png", "X-API-Key": key}
    try:
        answer = requests.post(f"{url}/predict", image.read_bytes(), headers=headers, timeout=10)
    except requests.RequestException:
        return None
    return answer.json()["label"] if answer.ok else None


def wait_for_answer(compose, key: str, image: Path, seconds: float) -> str:
    deadline = time.monotonic() + seconds
    while (label := predicted_label(compose.url, key, image)) is None:
        logs = compose("logs", "--tail", "60", "imageloop")
        assert "error: " not in logs, logs
        assert time.monotonic() < deadline, logs
        time.sleep(2)
    return label


def test_the_site_trains_serves_and_serves_again_after_a_kill(compose, secrets, tmp_path):
    image = tmp_path / "cat.png"
    draw_image("cat", (5, 5), Drift()).save(image)
    key = secrets["IMAGELOOP_API_KEY"]

    compose("up", "-d", "--no-build", "--no-deps", "mlflow", "imageloop")

    assert wait_for_answer(compose, key, image, 600) == "cat"
    compose("kill", "imageloop")
    assert predicted_label(compose.url, key, image) is None
    compose("up", "-d", "--no-build", "--no-deps", "imageloop")
    assert wait_for_answer(compose, key, image, 120) == "cat"
    logs = compose("logs", "imageloop")
    assert logs.count("version 1 of 'imageloop' is the champion now") == 1
    assert "Traceback" not in logs
    begun = time.monotonic()
    compose("stop", "imageloop")
    assert time.monotonic() - begun < 45
    assert "stopped default/imageloop" in compose("logs", "imageloop")
    compose("up", "-d", "--no-build", "--no-deps", "imageloop")
    assert wait_for_answer(compose, key, image, 120) == "cat"
    assert compose("logs", "imageloop").count("resuming version 1, which served here") == 2


def test_no_user_of_the_image_is_root_and_no_password_is_in_it():
    described = subprocess.run(["docker", "image", "inspect", str(IMAGE)], capture_output=True, text=True, check=True).stdout

    assert '"User": "10001"' in described
    assert "PASSWORD" not in described.upper().replace("PASSWORDS", "")
