"""The active ZenML stack as files name it, without ZenML, whose import costs seconds; and which stack each ZenML store last used here."""

import json
import os
from pathlib import Path
from typing import Any

import click
import yaml

from imageloop.atomic_files import replacing
from imageloop.workspace_paths import PROJECT

STACK_VARIABLE = "ZENML_ACTIVE_STACK_ID"  # in a pod, which has no repository, ZenML names the stack by it
REPOSITORY_VARIABLE = "ZENML_REPOSITORY_PATH"
MEMORY_FILE = "imageloop-stacks.json"  # beside a store: the stack that it last used in each repository


def zenml_folder() -> Path:
    """Return the folder with ZenML's configuration and its own store."""
    return Path(os.environ.get("ZENML_CONFIG_PATH") or click.get_app_dir("zenml"))


def repository_file() -> Path:
    """Return the file in which ZenML keeps the active stack of the project's folder, or of the one that the environment names."""
    return Path(os.environ.get(REPOSITORY_VARIABLE) or PROJECT) / ".zen" / "config.yaml"


def use_project_repository() -> None:
    """Name the project's repository to ZenML, which would look for one above the working directory; cron and systemd have another."""
    if repository_file().exists():
        os.environ.setdefault(REPOSITORY_VARIABLE, str(PROJECT))


def active_stack_id() -> str | None:
    """Return the id of the active stack, None where no stack was chosen yet."""
    if named := os.environ.get(STACK_VARIABLE):
        return named
    try:
        found = yaml.safe_load(repository_file().read_text())
    except (OSError, yaml.YAMLError):
        return None
    return (found or {}).get("active_stack_id")


def last_used_stack() -> str | None:
    """Return the id of the stack that this ZenML store last used in this repository."""
    return _memory().get(str(repository_file()))


def remember_stack(stack_id: str) -> None:
    """Remember the stack that this ZenML store uses in this repository: a second store that works beside the same checkout has others."""
    memory = _memory()
    if memory.get(str(repository_file())) != stack_id:
        with replacing(zenml_folder() / MEMORY_FILE) as aside:
            aside.write_text(json.dumps(memory | {str(repository_file()): stack_id}, indent=1))


def _memory() -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((zenml_folder() / MEMORY_FILE).read_text())
    except (OSError, ValueError):
        return {}
    return found
