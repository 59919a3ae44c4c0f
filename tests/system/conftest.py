"""A site of its own: ZenML, MLflow, DVC, keys and data below a temporary folder; the front door as a user runs it."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from classifier.workspace import Workspace

PROJECT = Path(__file__).parents[2]
SMOKE = ("--config", str(PROJECT / "configs" / "smoke.yaml"))


@dataclass(frozen=True)
class Site:
    """Where everything lies, and how to run a command there."""

    home: Path
    environment: dict[str, str]

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.home)

    def start(self, *arguments: str, program: str = "run.py", **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, PROJECT / program, *arguments],
            cwd=PROJECT,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, expect: int = 0, program: str = "run.py", **environment: str) -> tuple[str, str]:
        """Standard output and standard error of a command that ends with the exit code `expect`."""
        process = self.start(*arguments, program=program, **environment)
        out, err = process.communicate(timeout=300)
        assert process.returncode == expect, f"{arguments} ended with {process.returncode}:\n{out}\n{err}"
        return out, err

    def json(self, *arguments: str, **options: Any) -> Any:
        return json.loads(self.run(*arguments, "--json", **options)[0])

    def train(self, model: str, *arguments: str, **options: Any) -> Any:
        """The shortest training, under a model name of its own so that tests do not meet."""
        return self.json("train", *SMOKE, "--set", f"promotion.model_name={model}", *arguments, **options)


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Site:
    root = tmp_path_factory.mktemp("site")
    home = root / "home"
    home.mkdir()
    environment = os.environ | {
        "IMAGELOOP_HOME": str(home),
        "ZENML_CONFIG_PATH": str(root / "zenml"),
        "ZENML_REPOSITORY_PATH": str(root),
        "ZENML_CUSTOM_SOURCE_ROOT": str(PROJECT),
        "ZENML_ANALYTICS_OPT_IN": "false",
        "COLUMNS": "200",
    }
    for name in ("IMAGELOOP_SIGNING_KEY", "IMAGELOOP_VERIFICATION_KEY", "ZENML_ACTIVE_STACK_ID"):
        environment.pop(name, None)
    site = Site(home, environment)
    site.run("--activate", "local", program="stacks/apply.py")
    return site
