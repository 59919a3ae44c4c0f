"""Commands that explain: settings and report."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import reference_text
from cli.command import fail, run
from cli.options import Json
from imageloop.errors import SettingsError

if TYPE_CHECKING:
    from cli.reference_text import ListedSettings
    from operations.reports import Reports

PANEL = "Explain"


def register(app: typer.Typer) -> None:
    """Add the commands of this group to the command line."""
    for command in (settings, report):
        app.command(rich_help_panel=PANEL)(command)


def settings(
    prefix: Annotated[
        str, typer.Argument(metavar="[PREFIX]", help="Only settings below it, as training.model; or with this word in them.")
    ] = "",
    command: Annotated[
        str | None,
        typer.Option(
            "--of", metavar="COMMAND", help="train, tune, predict, deploy or monitor; by default all.", show_default=False
        ),
    ] = None,
    json_output: Json = False,
) -> None:
    """List every setting with its type, its default and its reason."""
    if command not in (None, *reference_text.COMMANDS):
        fail(SettingsError(f"--of: expected {', '.join(reference_text.COMMANDS)}, got '{command}'"))

    def work() -> "ListedSettings":
        return reference_text.list_all(prefix, command)

    run("settings", work, reference_text.settings, json_output)


def report(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]", help="A run of ZenML, as `train` and `monitor` print it; by default the newest training."
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Of this model the newest training.", show_default=False)] = None,
    to: Annotated[Path | None, typer.Option(metavar="DIR", help="The folder to write to.", show_default="reports/RUN")] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the index in a browser.")] = False,
    json_output: Json = False,
) -> None:
    """Write the reports of a run as files: data, label issues, evaluation, decision, drift."""

    def work() -> "Reports":
        from operations import reports

        return reports.write_reports(name, to, model)

    result: Any = run("report", work, reference_text.report, json_output)
    if show:
        import webbrowser

        webbrowser.open(Path(result.files[0]).absolute().as_uri())
