"""Print results: JSON from their fields, and the tables, colours and units that all commands share.

The modules `*_text` make rich renderables of results; `render` alone turns them into what is printed: with colour and
wrapped to the width in a terminal, plain and one line a row elsewhere and where NO_COLOR is set (rich reads it).
"""

import dataclasses
import io
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

    from operations.training import SubmittedRun

NAME_WIDTH = 15
PLAIN_WIDTH = 10_000  # wider than any row, so that nothing is wrapped for a program that reads lines
STATUS_STYLES = {
    "champion": "green",
    "ready": "green",
    "awaiting": "yellow",
    "refused": "red",
    "rolled back": "red",
    "not ready": "red",
}


def to_json(result: Any) -> str:
    """The fields of a result, a dataclass or pydantic model or a manifest, as an indented JSON document."""
    return json.dumps(_plain(result), indent=2, default=str)


def _plain(value: Any) -> Any:
    from pydantic import BaseModel  # which a result has loaded by now

    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value


def render(content: "RenderableType", descriptor: int) -> str:
    """The text of a renderable for what the descriptor is open on: a terminal, a file or a pipe; a string stays as it is."""
    if isinstance(content, str):
        return content
    from rich.console import Console

    terminal = os.isatty(descriptor)
    text = io.StringIO()
    width = os.get_terminal_size(descriptor).columns if terminal else PLAIN_WIDTH
    # no markup and no emoji: names of files and classes may hold brackets and colons
    console = Console(file=text, force_terminal=terminal, width=width or PLAIN_WIDTH, markup=False, emoji=False, highlight=False)
    console.print(content)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def submitted(result: "SubmittedRun") -> str:
    """Say where the submitted run is shown."""
    return f"the run was submitted to the stack '{result.stack}'; its dashboard shows the rest"


def summary(*rows: "tuple[str, str | Text]") -> "Table":
    """A name in bold and its value on each row."""
    from rich.table import Table

    grid = Table.grid()
    grid.add_column(width=NAME_WIDTH, style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(name, value)
    return grid


def table(*columns: str, numbers: tuple[str, ...] = ()) -> "Table":
    """An empty table with a row of column names; those in `numbers` stand to the right."""
    from rich.table import Table

    empty = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        empty.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    return empty


def lines(*texts: str) -> "Text":
    """Lines that are never wrapped: commands and addresses, which are copied."""
    from rich.text import Text

    return Text("\n".join(texts), no_wrap=True, overflow="ignore")


def status_text(status: str) -> "Text":
    """A status word in the colour that says whether it is good."""
    from rich.text import Text

    return Text(status, style=STATUS_STYLES.get(status, ""))


def percent(share: float) -> str:
    """A share in [0, 1] with one decimal."""
    return f"{share:.1%}"


def interval(low: float, high: float) -> str:
    """A 95 % interval of a share."""
    return f"95 %: {percent(low)} to {percent(high)}"


def program(name: str = "python") -> Path:
    """A program of the environment that runs, relative to the working directory where it lies below it."""
    path = Path(sys.executable).parent / name if name != "python" else Path(sys.executable)
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
