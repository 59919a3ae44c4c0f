"""ZenML's store: refuse one that is gone or damaged, and keep its configuration files whole."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from imageloop.adapters.active_stack import zenml_folder
from imageloop.adapters.sqlite_files import check_sqlite_file, sqlite_file
from imageloop.adapters.stack_reachability import failure_of
from imageloop.atomic_files import replacing
from imageloop.errors import SettingsError


def refuse_dead_server() -> None:
    """Refuse a ZenML server that is gone: without this check, a run hangs for half a minute.

    Raises: SettingsError if the configured server does not respond.
    """
    address = str(store_configuration().get("url") or "")
    if urlsplit(address).scheme in ("http", "https") and (failure := failure_of(f"{address.rstrip('/')}/health")):
        raise SettingsError(
            f"expected the ZenML server at {address}, got {failure}; "
            "start it again (zenml login --local), or go on without it: zenml logout --local"
        )


def refuse_unusable_store() -> None:
    """Raises: DatabaseFileError, SettingsError for a store on this machine that is locked, damaged, newer, or gone."""
    file = sqlite_file(str(store_configuration().get("url") or ""))
    if file is None:
        return
    if not file.exists():
        raise SettingsError(f"expected ZenML's database at '{file}', got no file; restore it from a backup, or run: make setup")
    check_sqlite_file(file, "zenml", "restore it from a backup, or move it away and run: make setup")


def store_configuration() -> dict[str, Any]:
    """ZenML's configuration of its store; empty before the first run."""
    file = zenml_folder() / "config.yaml"
    configuration = yaml.safe_load(file.read_text()) if file.exists() else None
    return (configuration or {}).get("store") or {}


def write_configuration_whole() -> None:
    """Write configuration files aside and rename them: each command that makes a client rewrites `.zen/config.yaml`, which ZenML empties first.

    A second command that reads it at that moment would fail, or use ZenML's default store.
    """
    from zenml.utils import io_utils

    def write(file_path: str, content: str) -> None:
        with replacing(Path(file_path).resolve()) as aside:
            aside.write_text(content)

    io_utils.write_file_contents_as_string = write
