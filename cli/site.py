"""Commands about a whole site: backup and restore-backup."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import site_text
from cli.command import run
from cli.options import Json

if TYPE_CHECKING:
    from operations.backup import BackupResult, RestoredSite

PANEL = "Site"


def register(app: typer.Typer) -> None:
    """Add the commands of this group to the command line."""
    for command in (backup, restore_backup):
        app.command(rich_help_panel=PANEL)(command)


def backup(
    to: Annotated[Path, typer.Argument(metavar="FILE", help="A tar.gz file; an existing one is replaced.")],
    json_output: Json = False,
) -> None:
    """Back this site up: MLflow, ZenML, records, deployments, and the key that verifies packages."""

    def work() -> "BackupResult":
        from operations import backup as backups

        return backups.back_up(to.absolute())

    run("backup", work, site_text.backup, json_output)


def restore_backup(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="What `backup` wrote.")],
    json_output: Json = False,
) -> None:
    """Restore an archive of `backup` to an empty site, on this machine or another, under any path."""

    def work() -> "RestoredSite":
        from operations import backup as backups

        return backups.restore_backup(source.absolute())

    run("restore-backup", work, site_text.restored, json_output)
