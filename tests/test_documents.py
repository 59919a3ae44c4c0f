"""README, site and contributing guide: every command, setting, target and path that they name exists."""

import re
from pathlib import Path

import pytest
import typer

from imageloop.errors import SettingsError
from imageloop.settings_files import load_settings

PROJECT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", PROJECT / "SECURITY.md", *(PROJECT / "docs").rglob("*.md")], key=str
)
PLACEHOLDERS = re.compile(r"URL|KEY|DIR|FILE|REGISTRY|\.\.\.|bakbone|key\.path")


def commands() -> set[str]:
    """Return the commands of run.py, those of a group as `images list`."""
    from cli.app import app

    found = set()
    for name, command in typer.main.get_command(app).commands.items():
        found |= {name} | {f"{name} {part}" for part in getattr(command, "commands", {})}
    return found


@pytest.fixture(scope="module")
def texts() -> dict[Path, str]:
    return {file: file.read_text() for file in DOCUMENTS}


def test_every_make_target_exists(texts):
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))

    for file, text in texts.items():
        assert set(re.findall(r"[`$] ?make ([a-z-]+)", text)) <= targets, file


def test_every_command_exists(texts):
    known = commands()

    for file, text in texts.items():
        named = {" ".join(words).strip() for words in re.findall(r"python run\.py (images(?= [a-z]))?(?: ?)([a-z][a-z-]+)", text)}
        assert named <= known, file


def test_every_setting_on_a_command_line_is_valid(texts):
    from seldon.delivery.rollouts.settings import DeploySettings
    from steps.pipeline_settings import MonitorSettings, TrainSettings

    schemas = {"deploy": DeploySettings, "monitor": MonitorSettings, "watch": MonitorSettings, "train": TrainSettings}
    count = 0
    for text in texts.values():
        for line in text.splitlines():
            command = re.search(r"run\.py (\w+)", line)
            overrides = [value for value in re.findall(r"--set ([^\s`]+)", line) if not PLACEHOLDERS.search(value)]
            if command and command[1] in schemas and overrides and "kind=" not in line:
                load_settings(schemas[command[1]], None, overrides)
                count += len(overrides)
    assert count >= 3


def test_a_misspelt_setting_gets_a_suggestion():
    from steps.pipeline_settings import TrainSettings

    with pytest.raises(SettingsError, match=re.escape("did you mean 'backbone'?")):
        load_settings(TrainSettings, None, ["training.model.bakbone=efficientnet_lite1"])


def test_every_path_exists(texts):
    folders = "benchmarks|cli|configs|deploy|docs|imageloop|materializers|operations|pipelines|seldon|stacks|steps|tests"
    for file, text in texts.items():
        for path in re.findall(rf"`((?:{folders})/[\w/.-]*)`", text):
            assert (PROJECT / path).exists(), (file, path)
        for path in re.findall(r"\]\((?!https?:|mailto:)([^)#]+)\)", text):
            assert (file.parent / path).exists(), (file, path)


def test_every_reason_code_is_in_the_troubleshooting_page(texts):
    """The reasons of refused images and requests are found in the calls that raise them."""
    raised = set()
    for file in [*(PROJECT / "imageloop" / "data").rglob("*.py"), *(PROJECT / "seldon").rglob("*.py")]:
        code = file.read_text()
        raised |= set(re.findall(r"RequestError\(\s*\d+,\s*\"(\w+)\"", code))
        raised |= set(re.findall(r"ImageRefusedError\(\s*\"(\w+)\"", code))
        if file.parent.name == "data":
            raised |= set(re.findall(r"\"([a-z]+_[a-z_]+): ", code))

    described = set(re.findall(r"^\| `(\w+)` \|", texts[PROJECT / "docs" / "troubleshooting.md"], re.MULTILINE))

    assert len(raised) > 15
    assert raised <= described
