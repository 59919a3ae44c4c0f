"""Print results: JSON from their fields, and columns and percentages as all commands show them."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any


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


def row(name: str, value: str) -> str:
    """One line of a summary: a name in a column of its own, and the value."""
    return f"{name:<15}{value}"


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
