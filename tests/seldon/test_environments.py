"""What serves has environments of its own, smaller than the one that trains: its modules find there all that they import."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("environment", "modules"),
    [
        (".venv-serving", "seldon.launcher, seldon.microservice, imageloop.records.store.collector"),
        (".venv-v2", "seldon.v2_runtime"),
    ],
)
def test_the_environment_has_what_serves_there_imports(environment: str, modules: str) -> None:
    command = [ROOT / environment / "bin" / "python", "-c", f"import {modules}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
