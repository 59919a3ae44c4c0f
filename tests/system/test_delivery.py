"""What the delivery workflow does, on this machine: staging, an evaluation with a threshold, production by canary, release notes."""

import json
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

from imageloop.data.settings import Drift
from imageloop.data.sources.draw_animals import CLASSES, draw_image

pytestmark = [pytest.mark.system, pytest.mark.acceptance, pytest.mark.xdist_group("delivery")]
PROJECT = Path(__file__).parents[2]
MODEL = "delivered"
HARDLY = (
    "--set",
    "training.model.loop.max_epochs=1",
    "--set",
    "training.model.loop.learning_rate=0.00001",
    "--set",
    "training.seed=9",
)
IMAGE = f"registry.example/imageloop-serve@sha256:{'0' * 64}"
HASTE = ("--set", "strategy.watch={min_seconds: 1, min_requests: 40, max_seconds: 120}", "--set", "replicas=1")


def deploy(site, place: str, *more: str, expect: int = 0) -> dict | str:
    """The workflow's own script."""
    delivered = site.home / "delivered"
    command = [PROJECT / ".ci/deliver", place, "--set", f"model_name={MODEL}", "--set", f"image={IMAGE}", *more]
    environment = site.environment | {"IMAGELOOP_DELIVERED": str(delivered)}
    done = subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == expect, done.stderr
    return done.stderr if expect else json.loads((delivered / f"{place}.json").read_text())


def production(site) -> dict:
    (found,) = [one for one in site.json("status")["deployments"] if one["namespace"] == "imageloop-production"]
    return found


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Images that the model has not seen, by class."""
    folder = tmp_path_factory.mktemp("labelled")
    for label in CLASSES:
        (folder / label).mkdir()
        for number in range(30):
            draw_image(label, (777, number), Drift()).save(folder / label / f"{number}.jpg", quality=90)
    return folder


@pytest.fixture(scope="module")
def staging(labelled):
    return ("--set", "replicas=1", "--set", f"afterwards.data={labelled}")


@pytest.fixture(scope="module")
def good(site):
    trained = site.json("train", "--set", f"promotion.model_name={MODEL}")
    yield trained["model_version"]
    site.run("down")


@pytest.fixture
def callers(labelled):
    """Somebody must ask, or a canary has nothing to be judged by."""
    stopping, threads = threading.Event(), []
    images = [file.read_bytes() for file in sorted(labelled.rglob("*.jpg"))]

    def ask(url: str) -> None:
        while not stopping.is_set():
            for content in images:
                request = urllib.request.Request(f"{url}/predict", content, {"Content-Type": "image/jpeg"})
                with urllib.request.urlopen(request, timeout=30):
                    pass
                if stopping.wait(0.02):
                    return

    def start(url: str) -> None:
        threads.append(threading.Thread(target=ask, args=(url,), daemon=True))
        threads[-1].start()

    yield start
    stopping.set()
    for thread in threads:
        thread.join(30)


def test_a_good_version_goes_through_staging_to_production(site, good, staging):
    staged = deploy(site, "staging", *staging)
    served = deploy(site, "production", "--set", "replicas=1")

    assert (staged["version"], staged["outcome"], staged["namespace"]) == (good, "promoted", "imageloop-staging")
    assert (served["version"], served["outcome"], served["namespace"]) == (good, "promoted", "imageloop-production")
    assert staged["url"] != served["url"]
    command = [sys.executable, PROJECT / ".ci/release-notes", site.home / "delivered" / "production.json", "HEAD"]
    notes = subprocess.run(command, capture_output=True, text=True, check=True, cwd=PROJECT).stdout
    assert f"model version {good}" in notes
    assert "smoke-test image" in notes


def test_an_environment_with_missing_variables_overwrites_no_stack(site):
    environment = site.environment | {"KUBECONFIG_CONTENT": "a context", "SITE": "{}"}
    done = subprocess.run(
        [PROJECT / ".ci/deliver", "staging"], env=environment, cwd=PROJECT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert "expected the namespace of this environment" in done.stderr


def test_a_bad_version_fails_in_staging_and_never_reaches_production(site, good, staging):
    bad = site.json("train", "--set", f"promotion.model_name={MODEL}", *HARDLY)
    assert bad["outcome"] == "refused"
    chosen = ("--version", bad["model_version"], "--set", "allow_refused_version=true")

    said = deploy(site, "staging", *staging, "--set", "afterwards.min_accuracy=0.75", *chosen, expect=1)

    assert any(words in said for words in ("test images: it is right on", "smoke-test image", "expected an accuracy of at least"))
    assert [part["version"] for part in production(site)["predictors"]] == [good]


def test_a_bad_version_that_passes_staging_is_rolled_back_in_production(site, good, callers):
    versions = site.json("versions", "--model", MODEL)["versions"]
    bad = next(one["version"] for one in versions if one["version"] != good)
    callers(production(site)["url"])

    said = deploy(site, "production", *HASTE, "--version", bad, "--set", "allow_refused_version=true", "--set", "judge.min_agreement=0.95", "--set", "judge.max_mix_distance=0.1", expect=1)  # fmt: skip

    assert "was rolled back" in said
    assert [part["version"] for part in production(site)["predictors"]] == [good]
