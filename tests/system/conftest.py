"""A site of its own: ZenML, MLflow, DVC, keys and data below a temporary folder; the front door as a user runs it."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imageloop.workspace_paths import Workspace
from tests import forked_program, servers

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

    def run(
        self,
        *arguments: str,
        expect: int = 0,
        program: str = "run.py",
        timeout_seconds: float = 600,
        fresh: bool = False,
        **environment: str,
    ) -> tuple[str, str]:
        """Standard output and standard error of a command that ends with the exit code `expect`; `fresh`: an interpreter of its own."""
        if fresh:
            process = self.start(*arguments, program=program, **environment)
            out, err = process.communicate(timeout=timeout_seconds)
            code = process.returncode
        else:
            known = {"folder": PROJECT, "environment": self.environment | environment, "timeout_seconds": timeout_seconds}
            code, out, err = forked_program.run(PROJECT / program, arguments, **known)
        assert code == expect, f"{arguments} ended with {code}:\n{out}\n{err}"
        return out, err

    def json(self, *arguments: str, **options: Any) -> Any:
        return json.loads(self.run(*arguments, "--json", **options)[0])

    def train(self, model: str, *arguments: str, **options: Any) -> Any:
        """The shortest training, under a model name of its own so that tests do not meet."""
        return self.json("train", *SMOKE, "--set", f"promotion.model_name={model}", *arguments, **options)


def watching(model: str, name: str) -> tuple[str, ...]:
    """The settings of a monitor over `model`, which is deployed as `name`."""
    settings = {
        "monitoring.model_name": model, "monitoring.deployment": f"default/{name}", "training.promotion.model_name": model,
        "rollout.model_name": model, "rollout.name": name,
    }  # fmt: skip
    return tuple(word for key, value in settings.items() for word in ("--set", f"{key}={value}"))


@pytest.fixture(scope="session")
def site(tmp_path_factory, exported_backbones) -> Site:
    made = new_site(tmp_path_factory.mktemp("site"))
    made.workspace.state.mkdir(exist_ok=True)
    made.workspace.backbones.symlink_to(exported_backbones)
    return made


def new_site(root: Path) -> Site:
    """One that remembers nothing: `site` knows in which split the images of other tests stand."""
    home = root / "a site é"  # as users' paths have spaces and accents
    home.mkdir()
    environment = os.environ | {
        "IMAGELOOP_HOME": str(home),
        "ZENML_CONFIG_PATH": str(root / "zenml"),
        "ZENML_REPOSITORY_PATH": str(root),
        "ZENML_CUSTOM_SOURCE_ROOT": str(PROJECT),
        "ZENML_ANALYTICS_OPT_IN": "false",
        "IMAGELOOP_GATEWAY_PORT": "0",
        "COLUMNS": "200",
    }
    site = Site(home, environment)
    site.run("--activate", "local", program="stacks/apply.py")
    return site


def package_hashes(site: Site, model: str = "imageloop") -> list[str]:
    """Of the files that the first version of the model is made of."""
    out, _ = site.run(model, program="tests/system/package_hashes.py", PYTHONPATH=str(PROJECT))
    return out.splitlines()[-2:]


@pytest.fixture(scope="session")
def zenml(tmp_path_factory):
    with (
        servers.mariadb(tmp_path_factory.mktemp("mariadb")) as store,
        servers.zenml_server(tmp_path_factory.mktemp("zenml"), store) as found,
    ):
        yield found


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory):
    with servers.postgresql(tmp_path_factory.mktemp("postgresql")) as store:
        yield store


@pytest.fixture(scope="session")
def mlflow(tmp_path_factory, postgresql, s3):
    with servers.mlflow_server(tmp_path_factory.mktemp("mlflow"), postgresql, s3) as url:
        yield url


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    with servers.s3(tmp_path_factory.mktemp("s3")) as url:
        yield url


@pytest.fixture(scope="session")
def sharing(s3) -> dict[str, str]:
    keys = {"AWS_ACCESS_KEY_ID": "imageloop", "AWS_SECRET_ACCESS_KEY": servers.PASSWORD}
    return {"IMAGELOOP_SHARED": "s3://imageloop/shared", "AWS_ENDPOINT_URL_S3": s3, "AWS_REGION": "us-east-1"} | keys


@pytest.fixture(scope="session")
def laptop(tmp_path_factory, sharing) -> Site:
    """One that trained with the stack `local`, and shared what it prepared."""
    fresh = new_site(tmp_path_factory.mktemp("laptop"))
    found = Site(fresh.home, fresh.environment | sharing)
    found.run("train")
    return found


@pytest.fixture
def draw():
    """Fill a folder with random images of a class each: draw(folder, cat=20, dog=20)."""
    return draw_images


def draw_images(folder, seed=0, **counts):
    rng = np.random.default_rng(seed)
    for place, (label, count) in enumerate(counts.items()):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            coarse = rng.integers(0, 120, (8, 8, 3)) + 100 * (place % 2)
            Image.fromarray(coarse.astype(np.uint8)).resize((96, 80), Image.Resampling.BICUBIC).save(
                folder / label / f"{seed}-{index}.png"
            )
    return folder
