"""The same two lines on every stack, `zenml stack set NAME` and `python run.py`, and what must hold after them.

python -m tests.system.two_lines STACK does so on a stack of this environment, whose servers stand already (`.ci/stack`).
"""

import base64
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import requests

from imageloop.data.settings import Drift
from imageloop.data.sources.draw_animals import draw_image
from tests.system.conftest import PROJECT, Site


def zenml_command(site: Site, *arguments: str) -> None:
    """ZenML's own command, as a user types it."""
    done = subprocess.run(
        [Path(sys.executable).with_name("zenml"), *arguments],
        env=site.environment, cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def two_lines(site: Site, stack: str, api_key: str, folder: Path) -> None:
    """Train and deploy on a stack: the version is registered, predicts through Seldon's endpoint, and ZenML has its lineage."""
    zenml_command(site, "stack", "set", stack)
    site.run(timeout_seconds=1500)
    try:
        listed = site.json("versions")
        served = site.json("status")["deployments"][0]
        image = folder / "cat.png"
        draw_image("cat", (5, 5), Drift()).save(image)
        message = {"jsonData": {"image": base64.b64encode(image.read_bytes()).decode()}}
        url = site.environment.get("IMAGELOOP_TEST_SERVED_URL") or f"{served['url']}/api/v1.0/predictions"
        response = requests.post(url, json=message, headers={"X-API-Key": api_key}, timeout=30)
        reports = site.json("report", "--to", str(folder / "reports"))
    finally:
        site.run("down")

    assert listed["champion"] in [version["version"] for version in listed["versions"]]
    assert [part["version"] for part in served["predictors"]] == [listed["champion"]]
    assert response.json()["meta"]["tags"]["labels"] == ["cat"]
    assert {"catalog.html", "evaluation.html", "verdict.html"} <= {Path(file).name for file in reports["files"]}, (
        "lineage in ZenML"
    )


if __name__ == "__main__":
    here = Site(Path(os.environ["IMAGELOOP_HOME"]), dict(os.environ))
    with tempfile.TemporaryDirectory() as name:
        two_lines(here, sys.argv[1], os.environ.get("IMAGELOOP_API_KEY", ""), Path(name))
    sys.stdout.write(f"the two lines hold on the stack '{sys.argv[1]}'\n")
