"""From an earlier commit to this one while people call: nothing is lost, no request fails; and back again."""

import io
import json
import os
import subprocess
import tarfile
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
import requests

from imageloop.lifecycle.feedback_for_training import open_database
from seldon.delivery.clusters.local.replicas import serving_python
from tests import forked_program
from tests.seldon.conftest import Load
from tests.system.conftest import Site, watching

pytestmark = [pytest.mark.system, pytest.mark.acceptance, pytest.mark.xdist_group("upgrade")]
PROJECT = Path(__file__).parents[2]
EARLIER = "8669358"  # the last commit before 0.2.0: other names for modules, settings, columns and metrics
NAME = ("--set", "model_name=upgraded", "--set", "name=upgraded")


@pytest.fixture(scope="module")
def earlier(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("earlier")
    done = subprocess.run(["git", "archive", EARLIER], cwd=PROJECT, capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"this clone does not hold the commit {EARLIER}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def own_site(site, tmp_path_factory) -> Site:
    """Of its own: what an earlier commit registers with ZenML shall not meet other tests."""
    root = tmp_path_factory.mktemp("upgraded")
    (root / "home").mkdir()
    (root / "tmp").mkdir()  # replicas of the earlier commit leave folders in it
    places = {
        "IMAGELOOP_HOME": root / "home",
        "ZENML_CONFIG_PATH": root / "zenml",
        "ZENML_REPOSITORY_PATH": root,
        "TMPDIR": root / "tmp",
    }
    own = {name: str(path) for name, path in places.items()} | {"IMAGELOOP_SERVING_PYTHON": str(serving_python())}
    made = Site(root / "home", site.environment | own)
    yield made
    made.start("down").communicate(timeout=120)


def run(tree: Path, site: Site, program: str, *arguments: str) -> str:
    environment = site.environment | {"ZENML_CUSTOM_SOURCE_ROOT": str(tree), "PYTHONPATH": str(tree)}
    code, out, err = forked_program.run(tree / program, arguments, folder=tree, environment=environment, timeout_seconds=300)
    assert code == 0, err
    return out


def trees_of_replicas(site: Site) -> Counter:
    found = Counter()
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except psutil.Error:
            continue
        if str(site.home) in environment.get("IMAGELOOP_SITE", "") and environment.get("PREDICTOR_ID"):
            found[environment["PYTHONPATH"]] += 1
    return found


@pytest.mark.timeout(900)
def test_an_upgrade_loses_nothing_fails_no_request_and_can_be_undone(own_site, earlier):
    run(earlier, own_site, "stacks/apply.py", "--activate", "local")
    smoke = ("--config", str(earlier / "configs" / "smoke.yaml"))
    run(earlier, own_site, "run.py", "train", *smoke, "--set", "promotion.model_name=upgraded", "--json")
    before = json.loads(run(earlier, own_site, "run.py", "deploy", *NAME, "--json"))
    assert set(trees_of_replicas(own_site)) == {str(earlier)}
    watched = watching("upgraded", "upgraded")

    with Load(before["url"]) as callers:
        callers.wait_for(50)
        run(earlier, own_site, "run.py", "monitor", *watched)  # its database, with some of the records
        run(PROJECT, own_site, "stacks/apply.py", "--activate", "local")
        after = json.loads(run(PROJECT, own_site, "run.py", "deploy", *NAME, "--json"))
        callers.wait_for(100)

    assert callers.failed == 0, callers.failures[:3]
    assert (after["version"], after["url"]) == (before["version"], before["url"])
    assert set(trees_of_replicas(own_site)) == {str(PROJECT)}
    time.sleep(1)  # records are written a few times a second
    run(PROJECT, own_site, "run.py", "monitor", *watched)
    database = open_database(own_site.workspace)
    responses = sum(callers.codes.values())
    assert responses <= database.counts()["predictions"] <= responses + 10  # and the smoke-test images
    database.close()

    # and back again, after a stop
    run(PROJECT, own_site, "run.py", "down")
    run(PROJECT, own_site, "stacks/apply.py", "--downgrade")
    run(earlier, own_site, "stacks/apply.py", "--activate", "local")
    back = json.loads(run(earlier, own_site, "run.py", "deploy", *NAME, "--json"))

    assert set(trees_of_replicas(own_site)) == {str(earlier)}
    assert requests.get(f"{back['url']}/health/status", timeout=10).ok
    run(earlier, own_site, "run.py", "down")
    assert not trees_of_replicas(own_site)
    assert os.environ.get("IMAGELOOP_HOME") != str(own_site.home)
