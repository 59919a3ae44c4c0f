"""How the commands that explain show their results to a user."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cli.output import lines, table
from imageloop.errors import SettingsError
from imageloop.settings_listing import list_settings

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import Group
    from rich.text import Text

    from operations.reports import Reports

COMMANDS = ("train", "tune", "predict", "deploy", "monitor")
REPEATED = {"tune": {"data", "training", "promotion"}, "monitor": {"training", "rollout"}}  # groups that another command has


@dataclass(frozen=True)
class ListedSetting:
    """A setting of a command. `kind`: the kind of its group that has it, empty where all have."""

    command: str
    key: str
    type: str
    default: Any
    reason: str
    kind: str


@dataclass(frozen=True)
class ListedSettings:
    """The settings that were asked for."""

    settings: list[ListedSetting]


def list_all(prefix: str, command: str | None) -> ListedSettings:
    """The settings below a prefix, or with this word in their key or reason. Raises: SettingsError where there are none."""
    from imageloop.batch_prediction.settings import BatchPredictionSettings
    from seldon.delivery.rollouts.settings import DeploySettings
    from steps.pipeline_settings import MonitorSettings, TrainSettings, TuneSettings

    kinds = (TrainSettings, TuneSettings, BatchPredictionSettings, DeploySettings, MonitorSettings)
    models: dict[str, type[BaseModel]] = dict(zip(COMMANDS, kinds, strict=True))
    every = [
        ListedSetting(name, one.key, one.type, _plain(one.default), one.reason, one.variant)
        for name in COMMANDS
        if command in (None, name)
        for one in list_settings(models[name], skipped=frozenset(REPEATED.get(name, ())))
    ]
    below = [one for one in every if one.key == prefix or one.key.startswith(f"{prefix}." if prefix else "")]
    found = below or [one for one in every if prefix.lower() in f"{one.key} {one.reason}".lower()]
    if not found:
        raise SettingsError(
            f"expected a setting or a word of one, got '{prefix}'; run without it for all: python run.py settings"
        )
    return ListedSettings(found)


def _plain(default: Any) -> Any:
    dump = getattr(default, "model_dump", None)
    return dump(mode="json") if dump else default if isinstance(default, bool | int | float | str | list | None) else str(default)


def settings(result: ListedSettings) -> "Group":
    """Show a table for each command, and how to set one."""
    from rich.console import Group

    parts: list[Any] = []
    for command in COMMANDS:
        rows = table(f"{command}", "type", "default", "reason")
        for one in (listed for listed in result.settings if listed.command == command):
            default = one.default if isinstance(one.default, str) else json.dumps(one.default)
            rows.add_row(one.key, one.type, default, f"{one.kind}: {one.reason}".rstrip(": ") if one.kind else one.reason)
        if rows.row_count:
            parts += [rows, ""]
    return Group(*parts, lines("set one with --set KEY=VALUE, or below its group in the file of --config"))


def report(result: "Reports") -> "Text":
    """Show the run with its status, and the files, the index first."""
    return lines(f"{result.run} ({result.status})", *(f"  {file}" for file in result.files))
