"""The options that several commands share."""

import re
from pathlib import Path
from typing import Annotated, Literal

import typer

from cli.command import fail
from imageloop.errors import SettingsError
from imageloop.settings import deployment_of

DEFAULT_MODEL = "imageloop"
CRON_FIELDS = 5
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]
ModelName = Annotated[str, typer.Option("--model", help="The model's name in the registry.")]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        help="Name of the model: its images, versions, deployment and monitor are kept apart from those of others. [default: imageloop]",
    ),
]
Place = Annotated[
    str | None,
    typer.Option(
        "--name",
        metavar="NAMESPACE/NAME",
        help="A deployment of the active stack, wherever it was deployed from.",
        show_default=False,
    ),
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Change one setting, at any depth; may be repeated.")
]
TrainConfig = Annotated[Path | None, typer.Option(help="A YAML file with what differs from the defaults.")]
Data = Annotated[
    Path | None,
    typer.Option(help="Your images: a folder with one folder a class (or names like cat.12.jpg), or a zip or tar of it."),
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Run every step, even if its inputs have not changed.")]
Preset = Annotated[
    Literal["fast", "best", "tiny"] | None,
    typer.Option(help="A recipe of configs/presets; what --config and --set name comes before it."),
]
TuneConfig = Annotated[Path | None, typer.Option(help="A YAML file with what differs from the defaults, see configs/tune.yaml.")]
DeployConfig = Annotated[
    Path | None, typer.Option(help="A YAML file with what differs from the defaults, see configs/deploy.yaml.")
]
MonitorConfig = Annotated[
    Path | None, typer.Option(help="A YAML file with what differs from the defaults, see configs/monitor.yaml.")
]
Version = Annotated[str | None, typer.Option(help="A version of the registry; by default the champion.")]


def train_presets(model: str | None) -> dict[str, str]:
    """The settings of a training that follow from `--model`."""
    if model is None:
        return {}
    own_data = {} if model == DEFAULT_MODEL else {"data__data_set": re.sub(r"[^A-Za-z0-9_.-]|^[.-]", "_", model)}
    return {"promotion__model_name": model} | own_data


def deploy_presets(model: str | None) -> dict[str, str]:
    """The settings of a deployment that follow from `--model`."""
    return {} if model is None else {"model_name": model, "name": deployment_of(model)}


def monitor_presets(model: str | None) -> dict[str, str]:
    """The settings of a monitor that follow from `--model`; its deployment is in the namespace `default`."""
    if model is None:
        return {}
    names = {f"{part}__model_name": model for part in ("monitoring", "training__promotion", "rollout")}
    return names | {"rollout__name": deployment_of(model), "monitoring__deployment": f"default/{deployment_of(model)}"}


def check_cron(cron: str | None) -> None:
    """End with a sentence where a cron expression has another number of fields."""
    if cron is not None and len(cron.split()) != CRON_FIELDS:
        fail(SettingsError(f"--cron: expected {CRON_FIELDS} fields, as '*/15 * * * *', got {cron!r}"))


def place_of(model: str | None, name: str | None) -> str | None:
    """The deployment that `--model` or `--name` means. Raises: SettingsError for both, and for another form than namespace/name."""
    if name is None:
        return None if model is None else deployment_of(model)
    if model is not None:
        raise SettingsError("--name: expected --name or --model, got both")
    if not re.fullmatch(r"[a-z0-9-]+/[a-z0-9-]+", name):
        raise SettingsError(f"--name: expected NAMESPACE/NAME in lower case, as status shows it, got '{name}'")
    return name
