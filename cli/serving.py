"""Commands that serve: deploy, render, status, rollback, down, evaluate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from cli import serving_text
from cli.command import fail, load, run
from cli.options import (
    DEFAULT_MODEL,
    DeployConfig,
    Json,
    Model,
    Overrides,
    Place,
    Version,
    deploy_presets,
    place_of,
)
from imageloop.errors import SettingsError
from imageloop.settings import deployment_of

if TYPE_CHECKING:
    from operations.deployment import DeploymentResult
    from operations.evaluation import EndpointEvaluation
    from operations.manifest_rendering import Kind
    from operations.model_server import DeployedModels
    from operations.serving import RollbackResult, ServingStatus, StoppedDeployments
    from operations.training import SubmittedRun
    from seldon.delivery.rollouts.settings import DeploySettings

PANEL = "Serve"
KINDS = ("seldon", "seldon-v2", "kserve")


def register(app: typer.Typer) -> None:
    """Add the commands of this group to the command line."""
    for command in (deploy, status, evaluate, rollback, down, render):
        app.command(rich_help_panel=PANEL)(command)


def deploy(
    config: DeployConfig = None,
    overrides: Overrides = None,
    version: Version = None,
    model: Model = None,
    resume: Annotated[bool, typer.Option(help="Deploy what served before a stop, a restart or an interrupted rollout.")] = False,
    allow_class_change: Annotated[
        bool, typer.Option("--allow-class-change", help="Let a version with other classes than those that are served take over.")
    ] = False,
    json_output: Json = False,
) -> None:
    """Deploy a version through the gateway; the version before serves until the new one has passed.

    Strategies: rolling (the default), canary, blue_green, shadow, ab_test. For example:

        python run.py deploy --set strategy.kind=canary --set strategy.steps=[10,50]
    """
    from seldon.delivery.rollouts.settings import DeploySettings

    preset = {"version": version} | deploy_presets(model) | ({"allow_class_change": True} if allow_class_change else {})
    settings = load(DeploySettings, config, overrides, **{name: value for name, value in preset.items() if value is not None})
    if settings.models:
        _deploy_models(settings, model, json_output)
        return
    if resume and (config or overrides or version or model or allow_class_change):
        fail(SettingsError("--resume deploys what served before: expected no other option, got one; leave out one of them"))

    def work() -> "DeploymentResult | SubmittedRun":
        from operations import deployment

        return deployment.deploy(settings, resume=resume)

    run("deploy", work, serving_text.deployment, json_output)


def _deploy_models(settings: "DeploySettings", model: str | None, json_output: bool) -> None:  # noqa: FBT001
    """Deploy the models of a server, or `model` alone."""

    def work() -> "DeployedModels":
        from operations import model_server

        return model_server.deploy_models(settings, only=model)

    run("deploy", work, serving_text.deployed_models, json_output)


def render(
    kind: Annotated[
        str,
        typer.Option("--as", metavar="KIND", help="seldon, seldon-v2 (MLServer behind Seldon) or kserve (an InferenceService)."),
    ] = "seldon",
    config: DeployConfig = None,
    overrides: Overrides = None,
    version: Version = None,
    model: Model = None,
    json_output: Json = False,
) -> None:
    """Print the manifest of a version and apply nothing: for Git, or for a server that others change.

    python run.py render --as kserve --set image=REGISTRY/imageloop-serve-v2@sha256:...
    """
    from seldon.delivery.rollouts.settings import DeploySettings

    if kind not in KINDS:
        fail(SettingsError(f"--as: expected {', '.join(KINDS[:-1])} or {KINDS[-1]}, got '{kind}'"))
    preset = {"version": version} | deploy_presets(model)
    settings = load(DeploySettings, config, overrides, **{name: value for name, value in preset.items() if value is not None})

    def work() -> dict[str, Any]:
        from operations.manifest_rendering import rendered

        return rendered(settings, cast("Kind", kind))

    run("render", work, serving_text.manifest, json_output)


def status(model: Model = None, name: Place = None, json_output: Json = False) -> None:
    """Show the deployments, all or one: versions, traffic, replicas, health, addresses."""

    def work() -> "ServingStatus":
        place = place_of(model, name)
        from operations import serving

        return serving.status(place)

    run("status", work, serving_text.status, json_output)


def rollback(
    model: Model = None,
    name: Place = None,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; the registry stores it.", show_default=False)] = "",
    json_output: Json = False,
) -> None:
    """Give all traffic to the previous version, and make it the champion again; by default of the last deployment."""

    def work() -> "RollbackResult":
        place = place_of(model, name)
        from operations import serving

        return serving.roll_back(place, reason)

    run("rollback", work, serving_text.rollback, json_output)


def down(
    keep: Annotated[bool, typer.Option(help="Remember what was deployed: `deploy --resume` starts it again.")] = False,
    json_output: Json = False,
) -> None:
    """Stop everything that serves from here."""

    def work() -> "StoppedDeployments":
        from operations import serving

        return serving.down(keep=keep)

    run("down", work, serving_text.down, json_output)


def evaluate(
    data: Annotated[Path, typer.Option(help="Labelled images: one folder a class, or names like cat.12.jpg.")],
    url: Annotated[
        str | None,
        typer.Option(
            help="The address of a deployment, by default of the model's. The API key is read from IMAGELOOP_API_KEY.",
            show_default=False,
        ),
    ] = None,
    model: Model = None,
    clients: Annotated[int, typer.Option(min=1, max=64, help="Requests at the same time.")] = 4,
    min_accuracy: Annotated[
        float | None, typer.Option(min=0, max=1, help="End with exit code 1 below it, or when a request failed.")
    ] = None,
    json_output: Json = False,
) -> None:
    """Send labelled images through a live service: accuracy, latency, errors."""
    if not data.is_dir():
        fail(SettingsError(f"--data: expected a folder of labelled images, got none at '{data}'"))
    if url is not None and not url.startswith(("http://", "https://")):
        fail(SettingsError(f"--url: expected an http address, got '{url}'; run: python run.py status"))

    def work() -> "EndpointEvaluation":
        from operations import evaluation, serving

        address = url or serving.address_of(deployment_of(model or DEFAULT_MODEL))
        return evaluation.evaluate(address, data, clients, min_accuracy)

    run("evaluate", work, serving_text.evaluation, json_output)
