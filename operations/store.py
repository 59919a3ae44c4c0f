"""Reach ZenML, or say in a sentence why that cannot work."""

import logging
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click
import yaml

from classifier.errors import ImageLoopError, SettingsError

if TYPE_CHECKING:
    from zenml.client import Client

ROOT = Path(__file__).parents[1]


def open_store() -> "Client":
    """ZenML's client, once it is sure that it can work.

    Raises: SettingsError for a server that is dead, a folder that is no repository of ZenML's, a stack without a tracker.
    """
    refuse_dead_server()
    from zenml.client import Client

    _silence_console()
    client = Client()
    if client.root is None:
        raise SettingsError("wanted a ZenML repository, found none here; run: make setup")
    if client.active_stack_model.name == "default":
        raise SettingsError("wanted one of our stacks, found ZenML's 'default', which has no tracker; run: zenml stack set local")
    return client


def open_stack() -> "Client":
    """The same for a run, whose steps must reach the store too.

    Raises: SettingsError also where they run elsewhere and the store is on this machine.
    """
    client = open_store()
    from zenml.enums import StoreType

    if runs_elsewhere(client) and client.zen_store.type != StoreType.REST:
        raise SettingsError(
            f"wanted a ZenML server, found a store on this machine, which the pods of the stack '{client.active_stack_model.name}' "
            "cannot reach; run: zenml login URL"
        )
    return client


def runs_elsewhere(client: "Client") -> bool:
    """Whether the steps of the active stack run on other machines than this one."""
    return bool(client.active_stack.orchestrator.config.is_remote)


def refuse_dead_server() -> None:
    """A server that is gone costs half a minute and a traceback later on.

    Raises: SettingsError if ZenML points at a server that does not answer.
    """
    file = zenml_folder() / "config.yaml"
    store = (yaml.safe_load(file.read_text()) or {}).get("store") or {} if file.exists() else {}
    address = urlsplit(str(store.get("url") or ""))
    if address.scheme not in ("http", "https") or address.hostname is None:
        return
    try:
        socket.create_connection(
            (address.hostname, address.port or (443 if address.scheme == "https" else 80)), timeout=5
        ).close()
    except OSError as error:
        raise SettingsError(
            f"wanted the ZenML server at {address.geturl()}, found nobody there ({error}); "
            "start it again (zenml login --local), or go on without it: zenml logout --local"
        ) from error


def zenml_folder() -> Path:
    """Where ZenML keeps its configuration and its own store."""
    return Path(os.environ.get("ZENML_CONFIG_PATH") or click.get_app_dir("zenml"))


def register_stacks() -> None:
    """Register our stacks with the store that is named now, in a process of its own: ZenML remembers the first one it saw.

    Raises: ImageLoopError.
    """
    command = [sys.executable, str(ROOT / "stacks" / "apply.py"), "--activate", "local"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise ImageLoopError(f"wanted to register the stacks, found: {done.stderr.strip()[-300:]}; run: make setup")


def _silence_console() -> None:
    """ZenML's console handler repeats on the terminal what its log store and our log file have."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        if type(handler).__name__ == "ZenMLConsoleHandler":
            root.removeHandler(handler)
