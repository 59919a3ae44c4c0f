"""What the README tells a reader to type exists."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
README = (PROJECT / "README.md").read_text()


def test_every_make_target_exists():
    makefile = (PROJECT / "Makefile").read_text()

    for target in set(re.findall(r"`make ([a-z-]+)`|\$ make ([a-z-]+)", README)):
        assert re.search(rf"^{''.join(target)}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("command", sorted(set(re.findall(r"python run\.py ((?:pictures )?\w+)", README))))
def test_every_sub_command_exists(command):
    done = subprocess.run(
        [sys.executable, "run.py", *command.split(), "--help"], cwd=PROJECT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0
    assert "--json" in done.stdout


def test_every_setting_that_is_shown_is_right():
    from imageloop.errors import SettingsError
    from imageloop.settings_files import load_settings
    from seldon.delivery.rollouts.settings import DeploySettings
    from steps.pipeline_settings import TrainSettings

    url = ["data.source.location=https://example.org/a.zip", f"data.source.sha256={'ab' * 32}"]
    for line in README.splitlines():
        shown = re.findall(r"--set ([^\s`]+)", line)
        if not shown or "bakbone" in line or "key.path=value" in line:
            continue
        if "archive" in line:
            shown = [value for value in shown if "location" not in value and "sha256" not in value] + url
        load_settings(DeploySettings if "run.py deploy" in line else TrainSettings, None, shown)
    with pytest.raises(SettingsError, match=re.escape("did you mean 'backbone'?")):
        load_settings(TrainSettings, None, ["training.model.bakbone=efficientnet_lite1"])


def test_every_file_and_picture_that_is_named_exists():
    for path in re.findall(r"\]\(([^)#]+)\)", README):
        assert (PROJECT / path).exists(), path
    for path in re.findall(r"`((?:imageloop|operations|pipelines|configs|steps|seldon)/[\w/.]*)`", README):
        assert (PROJECT / path).exists(), path
