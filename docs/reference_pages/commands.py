"""The page of the command line."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import typer

from docs.reference_pages.markdown import ROOT, code, page, table


def commands() -> str:
    """Every command with its help, usage and options."""
    from cli.app import app

    root = typer.main.get_command(app)
    context = click.Context(root, info_name="python run.py")
    parts = [_command(name, command, context) for name, command in _walk(root, context)]
    lead = "All commands of `python run.py`, with their options. Without a command it trains with the defaults and deploys the champion."
    return page("Command line", lead, *parts)


def _walk(group: Any, context: click.Context, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command.hidden:
            continue
        if hasattr(command, "list_commands"):
            yield from _walk(command, context, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


def _command(name: str, command: click.Command, parent: click.Context) -> str:
    context = click.Context(command, info_name=name, parent=parent)
    usage = " ".join(command.collect_usage_pieces(context))
    rows = []
    for parameter in command.params:
        names = ", ".join(f"`{one}`" for one in [*parameter.opts, *parameter.secondary_opts])
        if parameter.param_type_name == "argument":
            names = code(parameter.get_usage_pieces(context)[0])
        default = "" if parameter.default in (None, False) or callable(parameter.default) else _shown(parameter.default)
        rows.append([names, getattr(parameter, "help", "") or "", default])
    options = table(["option", "meaning", "default"], rows)
    return f"## {name}\n\n{inspect.cleandoc(command.help or '')}\n\n```\npython run.py {name} {usage}\n```\n\n{options}"


def _shown(value: object) -> str:
    if isinstance(value, Path):
        return code(value.relative_to(ROOT) if value.is_relative_to(ROOT) else value)
    return code(value)
