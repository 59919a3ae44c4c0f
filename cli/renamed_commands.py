"""Commands from before 0.2.0: each ends with an error that names the new one; removed in 0.3.0."""

from typing import Annotated

import typer

from cli.command import fail
from imageloop.errors import SettingsError

NEW_NAMES = {"story": "demo-loop", "pictures": "images", "recover": "restore-backup"}


def register(app: typer.Typer) -> None:
    """Add the old names, which the help does not list."""
    for old in NEW_NAMES:
        app.command(old, hidden=True, context_settings={"ignore_unknown_options": True})(_refuse)


def _refuse(context: typer.Context, _arguments: Annotated[list[str] | None, typer.Argument(hidden=True)] = None) -> None:
    old = str(context.info_name)
    fail(SettingsError(f"the command `{old}` has a new name since 0.2.0; run: python run.py {NEW_NAMES[old]}"))
