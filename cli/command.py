"""Run one command: check its settings, show its progress, print its result, turn an error into one sentence and an exit code."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from cli.output import render, to_json
from imageloop.errors import ImageLoopError, SettingsError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from imageloop.settings import Settings


class StoppedError(ImageLoopError):
    """A command that the user ended."""

    def __init__(self) -> None:
        super().__init__("stopped; the same command goes on where it can")


def run[Result](
    command: str,
    work: Callable[[], Result],
    text: "Callable[[Result], RenderableType]",
    json_output: bool,  # noqa: FBT001
) -> Result:
    """Do the work with a log file beside it, and print its result, as JSON or as `text` shows it to a user; return it."""
    from cli.console import Session, result_alone_on_stdout
    from imageloop.workspace_paths import Workspace

    session = Session(command, Workspace.current())
    with result_alone_on_stdout() as output:
        try:
            with session:
                result = work()
                printed = to_json(result) if json_output else render(text(result), output)
        except SettingsError as error:
            fail(error)
        except KeyboardInterrupt:
            fail(StoppedError())
        except Exception as error:  # the edge of the process: a sentence for the user, the rest in the log
            fail(_sentence(error), session.log)
        try:
            with os.fdopen(output, "wb", closefd=False) as file:
                file.write(f"{printed}\n".encode(errors="backslashreplace"))
        except OSError as error:
            fail(ImageLoopError(f"the result could not be written to standard output, and is incomplete ({error.strerror})"))
    return result


def load[AnySettings: Settings](
    model: type[AnySettings], config: Path | Sequence[Path] | None, overrides: list[str] | None, **preset: Any
) -> AnySettings:
    """Load settings and check them, before anything heavy is imported; a wrong one ends the process."""
    from imageloop.settings_files import load_settings

    try:
        return load_settings(model, config, overrides or [], **preset)
    except SettingsError as error:
        fail(error)


def fail(error: ImageLoopError, log: Path | None = None) -> NoReturn:
    """End the process with the error's sentence: exit code 2 for a wrong setting, 130 after Ctrl-C, else 1."""
    sys.stderr.write(f"error: {error}\n" + (f"       the details are in {log}\n" if log else ""))
    sys.stderr.flush()
    raise typer.Exit(130 if isinstance(error, StoppedError) else 2 if isinstance(error, SettingsError) else 1)


def _sentence(error: Exception) -> ImageLoopError:
    from imageloop.adapters.zenml_failures import disk_is_full, failed_step, was_interrupted
    from imageloop.workspace_paths import Workspace

    if disk_is_full(Workspace.current().home):
        return ImageLoopError(f"the disk is full ({error}); free some space and run the same command again")
    if (found := failed_step(error)) is not None:
        return found
    if was_interrupted(error):
        return StoppedError()
    return ImageLoopError(f"unexpected error, please report it: {type(error).__name__}: {error}")
