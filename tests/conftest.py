"""Fixtures of several tests: images, a store, a packaged model; and real photographs where there are some."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imageloop.workspace_paths import HOME_VARIABLE, Workspace, of_this_site

LISTED_SKIPS = Path(__file__).with_name("listed_skips.txt")
LONGEST = ("pods", "remote", "deployment", "rollouts", "rollouts-kubernetes", "cluster")  # groups, each the work of one worker


def pytest_configure():
    """Whatever the shell of an operator has exported."""
    for name in of_this_site(os.environ):
        del os.environ[name]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """A module is one worker's, with its fixtures; what takes longest comes first, so that no worker is left with it at the end."""
    items.sort(key=_place)
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


def _place(item) -> tuple[int, bool]:
    group = item.get_closest_marker("xdist_group")
    name = group.args[0] if group and group.args else ""
    return LONGEST.index(name) if name in LONGEST else len(LONGEST), item.get_closest_marker("system") is None


def pytest_terminal_summary(terminalreporter):
    """How many tests were skipped for each reason, and which reasons are not in the list."""
    for reason, count in _skips(terminalreporter).items():
        mark = "" if _is_listed(reason) else "   NOT LISTED in tests/listed_skips.txt"
        terminalreporter.write_line(f"skipped {count}: {reason}{mark}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    """In CI a skip that is not listed is a failure: a server that is missing must not make the tests pass."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if "IMAGELOOP_TEST_LISTED_SKIPS_ONLY" in os.environ and reporter and not all(map(_is_listed, _skips(reporter))):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _skips(reporter) -> Counter[str]:
    return Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in reporter.stats.get("skipped", []))


def _is_listed(reason: str) -> bool:
    """Whether a reason is in the list; where it holds only without a variable, whether that is unset."""
    for line in LISTED_SKIPS.read_text().splitlines():
        known, _, variable = line.partition(" | unless ")
        if reason == known:
            return not variable or variable not in os.environ
    return False


def pytest_make_parametrize_id(val, argname):
    """An image of 21 MB would be its own name otherwise, and be sent about with it."""
    return f"{argname} of {len(val)}" if isinstance(val, bytes | str) and len(val) > 80 else None


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory, monkeypatch):
    """No test touches the project's own data, keys or registry, nor the ZenML store and repository that a shell names.

    The path has a space and an accent, as users' paths have.
    """
    home = tmp_path_factory.mktemp("home") / "a folder é"
    home.mkdir()
    monkeypatch.setenv(HOME_VARIABLE, str(home))
    monkeypatch.setenv("ZENML_CONFIG_PATH", str(home / "zenml"))
    monkeypatch.setenv("ZENML_REPOSITORY_PATH", str(home))
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture(scope="session")
def exported_backbones(tmp_path_factory) -> Path:
    """Exported once for all tests, whichever worker of pytest-xdist needs it first: that takes longer than most tests do."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "backbones"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def workspace(own_home, exported_backbones) -> Workspace:
    workspace = Workspace(own_home)
    workspace.state.mkdir()
    workspace.backbones.symlink_to(exported_backbones)
    return workspace


@pytest.fixture
def draw_folder(tmp_path):
    """Make a folder of small random images, one folder a class: draw_folder(cat=12, dog=12)."""

    def draw(name="images", side=64, seed=0, **counts) -> Path:
        rng = np.random.default_rng(seed)
        for place, (label, count) in enumerate(counts.items()):
            (tmp_path / name / label).mkdir(parents=True, exist_ok=True)
            for index in range(count):
                coarse = rng.integers(0, 120, (8, 8, 3)) + 100 * (place % 2)
                image = Image.fromarray(coarse.astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
                image.save(tmp_path / name / label / f"{index}.png")
        return tmp_path / name

    return draw


@pytest.fixture(scope="session")
def photographs() -> Path:
    """The real photographs, where IMAGELOOP_TEST_DATA names the folder that holds them."""
    folder = Path(os.environ.get("IMAGELOOP_TEST_DATA", ""), "data")
    if not os.environ.get("IMAGELOOP_TEST_DATA") or not folder.is_dir():
        pytest.skip("IMAGELOOP_TEST_DATA names no folder with photographs")
    return folder
