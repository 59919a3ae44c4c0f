"""The options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_MODEL = "imageloop"
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]
ModelName = Annotated[str, typer.Option("--model", help="The model's name in the registry.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Change one setting, at any depth; may be repeated.")
]
TrainConfig = Annotated[Path | None, typer.Option(help="A YAML file with what differs from the defaults.")]
DeployConfig = Annotated[
    Path | None, typer.Option(help="A YAML file with what differs from the defaults, see configs/deploy.yaml.")
]
MonitorConfig = Annotated[
    Path | None, typer.Option(help="A YAML file with what differs from the defaults, see configs/monitor.yaml.")
]
Version = Annotated[str | None, typer.Option(help="A version of the registry; by default the champion.")]
