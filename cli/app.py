"""The command line: which commands there are, in groups; and what happens without one."""

import sys
from typing import Annotated

import typer

from cli import data, monitoring, prediction, reference, renamed_commands, serving, site, training

HELP = """ImageLoop trains an image classifier on a folder of labelled images, serves it, monitors it, and retrains it.

Every command works on the active ZenML stack (zenml stack set NAME), prints its result on standard output and everything else on
standard error, and takes --json for scripts. Exit code 1: the command failed; the error gives the reason. Exit code 2: a setting is wrong.

Without a command it trains with the defaults and deploys the champion.
"""

app = typer.Typer(help=HELP, add_completion=True, pretty_exceptions_enable=False, rich_markup_mode="rich")
for group in (training, prediction, serving, monitoring, data, reference, site, renamed_commands):
    group.register(app)


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Train with the defaults and deploy, where no command is given."""
    if show_version:
        sys.stdout.write(f"imageloop {_version()}\n")
    elif context.invoked_subcommand is None:
        training.train_and_deploy_defaults()


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("imageloop")
    except PackageNotFoundError:  # in a container image, whose folders are copied
        return "unknown"
