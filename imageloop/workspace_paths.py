"""The folders of a site on this machine, all below one, so that a test or a second site has its own."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import FileLock

PROJECT = Path(__file__).parents[1]  # the folder that holds run.py
HOME_VARIABLE = "IMAGELOOP_HOME"
DATA_SETS = "sets"  # below data/: further data sets
OF_A_SITE = ("IMAGELOOP_", "ZENML_STORE_", "ZENML_ACTIVE_")
OF_A_MACHINE = ("IMAGELOOP_SERVING_PYTHON", "IMAGELOOP_TEST_")


def of_this_site(environment: Mapping[str, str]) -> list[str]:
    """Names of the variables that lead to a site's servers, databases and keys; tests and the demo loop remove them."""
    return [name for name in environment if name.startswith(OF_A_SITE) and not name.startswith(OF_A_MACHINE)]


@dataclass(frozen=True)
class Workspace:
    """The folder that holds `data/` (tracked by DVC) and `.imageloop/` (everything that can be made again, and the keys).

    `data_set`: the name of a further data set, whose images and catalog have a folder of their own; empty for the first one.
    """

    home: Path
    data_set: str = ""

    @classmethod
    def current(cls, data_set: str = "") -> "Workspace":
        """The folder that `IMAGELOOP_HOME` names, by default the one that holds run.py."""
        return cls(Path(os.environ.get(HOME_VARIABLE) or PROJECT).resolve(), data_set)

    @property
    def all_data(self) -> Path:
        return self.home / "data"

    @property
    def data(self) -> Path:
        """Return the folder of this data set's images and catalog."""
        return self.all_data / DATA_SETS / self.data_set if self.data_set else self.all_data

    @property
    def state(self) -> Path:
        return self.home / ".imageloop"

    @property
    def quarantined(self) -> Path:
        """Return the list of the files that the last training on this data set did not use."""
        return self.state / f"quarantined{'-' if self.data_set else ''}{self.data_set}.csv"

    @property
    def prepared(self) -> Path:
        return self.all_data / "prepared"

    @property
    def features(self) -> Path:
        return self.state / "features"

    @property
    def artifacts_mark(self) -> Path:
        """A random mark in the artifact folder of the stack `local`: it is deleted with the artifacts."""
        return self.state / "artifacts" / "made"

    @property
    def backbones(self) -> Path:
        return self.state / "backbones"

    @property
    def checkpoints(self) -> Path:
        return self.state / "checkpoints"

    @property
    def packages(self) -> Path:
        """Return the folder for packages of a remote registry, by model and version."""
        return self.state / "packages"

    @property
    def rollbacks(self) -> Path:
        """Notes of versions that were rolled back, until the registry was updated."""
        return self.state / "rollbacks"

    @property
    def downloads(self) -> Path:
        return self.state / "downloads"

    @property
    def keys(self) -> Path:
        return self.state / "keys"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    def lock(self, name: str) -> "FileLock":
        """Make a lock between the processes of this machine; it ends with the process that holds it."""
        from filelock import FileLock

        (self.state / "locks").mkdir(parents=True, exist_ok=True)
        return FileLock(self.state / "locks" / f"{name}.lock")
