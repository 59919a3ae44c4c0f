"""Commands that make models and choose among them: train, tune, compare, versions, approve.

`training_text` loads the settings of all pipelines, a tenth of a second that the other commands need not wait for.
"""

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.command import fail, load, run
from cli.options import (
    DEFAULT_MODEL,
    Data,
    Json,
    Model,
    ModelName,
    NoCache,
    Overrides,
    Preset,
    TrainConfig,
    TuneConfig,
    deploy_presets,
    train_presets,
)
from cli.output import render, submitted
from imageloop.errors import ImageLoopError, SettingsError
from imageloop.workspace_paths import PROJECT

if TYPE_CHECKING:
    from cli import training_text
    from operations.approval import Approval, VersionList
    from operations.comparison import Comparison
    from operations.training import SubmittedRun
    from operations.tuning import TuningResult
    from steps.pipeline_settings import TrainSettings, TuneSettings

logger = logging.getLogger(__name__)
PANEL = "Train"


def register(app: typer.Typer) -> None:
    """Add the commands of this group to the command line."""
    for command in (train, tune, versions, compare, approve):
        app.command(rich_help_panel=PANEL)(command)


def train(
    config: TrainConfig = None,
    overrides: Overrides = None,
    model: Model = None,
    data: Data = None,
    preset: Preset = None,
    no_cache: NoCache = False,
    deploy: Annotated[bool, typer.Option("--deploy", help="Deploy the champion afterwards, as `deploy` does.")] = False,
    json_output: Json = False,
) -> None:
    """Train on labelled images and register the model.

    Without options it draws its own images. With your own:

        python run.py train --data pets --model pets

        python run.py train --data pets --model pets --preset best

        python run.py train --data pets --model pets --set training.model.kind=baseline_cnn --set training.seed=8
    """
    from steps.pipeline_settings import TrainSettings

    base = PROJECT / "configs" / "presets" / f"{preset}.yaml" if preset else None
    settings = _checked_settings(TrainSettings, config, overrides or [], data, model, base=base)
    _train(settings, use_cache=not no_cache, deploy=deploy, json_output=json_output, model=model)


def tune(
    config: TuneConfig = None,
    overrides: Overrides = None,
    model: Model = None,
    data: Data = None,
    trials: Annotated[
        int | None,
        typer.Option(help="Trials of heads on frozen features; by default 30. Fine-tuning follows: search.fine_tune_trials."),
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Begin no trial later; by default 30.")] = None,
    no_cache: NoCache = False,
    json_output: Json = False,
) -> None:
    """Search better settings, train the winner and register it.

    Trials see the train and the validation split alone. A search that was interrupted goes on:

        python run.py tune --data pets --model pets --minutes 20
    """
    from steps.pipeline_settings import TuneSettings

    budget = {"search__trials": trials, "search__minutes": minutes}
    given = {name: value for name, value in budget.items() if value is not None}
    settings = _checked_settings(TuneSettings, config, overrides or [], data, model, given)

    def work() -> "TuningResult | SubmittedRun":
        from operations import tuning

        return tuning.tune(settings, use_cache=not no_cache)

    from cli import training_text

    run("tune", work, training_text.tuning, json_output)


def train_and_deploy_defaults() -> None:
    """Train with the defaults and deploy, after one line that names the stack, the data and the model."""
    from steps.pipeline_settings import TrainSettings

    _train(_checked_settings(TrainSettings, None, [], None, None), use_cache=True, deploy=True, json_output=False, announce=True)


def _train(
    settings: "TrainSettings",
    *,
    use_cache: bool,
    deploy: bool,
    json_output: bool,
    announce: bool = False,
    model: str | None = None,
) -> None:
    from cli import training_text

    def work() -> "training_text.Trained":
        from operations import training

        if announce:
            _announce(settings)
        if not deploy:
            return training.train(settings, use_cache=use_cache)
        from operations.deployment import check_deployable
        from operations.deployment import deploy as deploy_champion
        from seldon.delivery.rollouts.settings import DeploySettings

        chosen = {"model_name": settings.promotion.model_name} | deploy_presets(model)
        champion = DeploySettings.model_validate(chosen | {"strategy": {"kind": "rolling"}})
        check_deployable(champion)
        result = training.train(settings, use_cache=use_cache)
        if isinstance(result, training.SubmittedRun):
            raise ImageLoopError(
                f"{submitted(result)}; deploy when it has ended: python run.py deploy --model {settings.promotion.model_name}"
            )
        try:
            return training_text.TrainedAndDeployed(**vars(result), deployment=deploy_champion(champion))
        except ImageLoopError:
            # the training is done, whatever became of the deployment
            sys.stderr.write(f"{render(training_text.training(result), 2)}\n\n")
            raise

    run("train", work, training_text.training, json_output)


def _announce(settings: "TrainSettings") -> None:
    from imageloop.adapters.zenml_client import open_store

    logger.info(
        "training and deploying: stack '%s', data '%s', model '%s'; other commands: python run.py --help",
        open_store().active_stack_model.name, settings.data.source.kind, settings.promotion.model_name,
    )  # fmt: skip


def compare(
    versions: Annotated[list[str], typer.Argument(help="Two versions or more; the first is what the others are compared with.")],
    model: ModelName = DEFAULT_MODEL,
    json_output: Json = False,
) -> None:
    """Compare versions on the same test images: accuracy, time and size."""
    from cli import training_text

    def work() -> "Comparison":
        from operations import comparison

        return comparison.compare(model, versions)

    run("compare", work, training_text.comparison, json_output)


def approve(
    version: str,
    model: ModelName = DEFAULT_MODEL,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Overrule a gate or a rollout that refused it; recorded.")] = "",
    json_output: Json = False,
) -> None:
    """Approve a version: it becomes the champion."""
    from cli import training_text

    def work() -> "Approval":
        from operations import approval

        return approval.approve(model, version, reason)

    run("approve", work, training_text.approval, json_output)


def versions(model: ModelName = DEFAULT_MODEL, json_output: Json = False) -> None:
    """List the versions in the registry, and the status of each."""
    from cli import training_text

    def work() -> "VersionList":
        from operations import approval

        return approval.versions(model)

    run("versions", work, training_text.versions, json_output)


def _checked_settings[Settings: "TrainSettings | TuneSettings"](
    kind: type[Settings],
    config: Path | None,
    overrides: list[str],
    data: Path | None,
    model: str | None,
    given: dict[str, Any] | None = None,
    base: Path | None = None,
) -> Settings:
    """Read the settings of a training and check its data, before anything heavy is imported."""
    from imageloop.data.sources.source_kinds import check

    preset: dict[str, Any] = dict(train_presets(model)) | (given or {})
    try:
        if data is not None:
            is_file = data.is_file()
            preset["data__source"] = (
                {"kind": "archive", "location": str(data)} if is_file else {"kind": "folder", "path": str(data)}
            )
        settings = load(kind, [file for file in (base, config) if file is not None], overrides, **preset)
        check(settings.data)
    except SettingsError as error:
        fail(error)
    except OSError as error:
        fail(
            SettingsError(
                f"the images cannot be read: '{error.filename or data}' ({error.strerror}); grant access, or name another folder"
            )
        )
    return settings
