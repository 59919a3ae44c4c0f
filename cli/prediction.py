"""The command that predicts: a table of some images now, or Parquet files of any number by a pipeline."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.command import fail, load, run
from cli.options import DEFAULT_MODEL, Json, Model, Overrides, Version, check_cron
from imageloop.errors import SettingsError

if TYPE_CHECKING:
    from imageloop.batch_prediction.settings import BatchPredictionSettings
    from operations.batch_prediction import BatchPrediction
    from operations.prediction import PredictionTable
    from operations.scheduling import RemovedSchedule, Schedule
    from operations.training import SubmittedRun

PANEL = "Train"
Images = Annotated[
    list[str] | None,
    typer.Argument(
        help="Images, and folders of images; with --pipeline also addresses (s3://bucket/folder) and manifests.",
        show_default=False,
    ),
]
Explain = Annotated[Path | None, typer.Option(metavar="DIR", help="Write a heat map for each image to this folder.")]
Exact = Annotated[bool, typer.Option("--exact", help="Use the fp32 model even where the int8 model is as good.")]
Csv = Annotated[bool, typer.Option("--csv", help="Print path,label,probability,in_distribution,reason.")]
Pipeline = Annotated[
    bool, typer.Option("--pipeline", help="Run the pipeline batch_prediction on the active stack; it writes Parquet files.")
]
Output = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER", help="With --pipeline: a folder, or an address; by default below predictions/.", show_default=False
    ),
]
Cron = Annotated[
    str | None,
    typer.Option(
        metavar="CRON",
        help="With --pipeline: do so on a schedule, as '0 3 * * *', where the stack has schedules.",
        show_default=False,
    ),
]
RemoveSchedule = Annotated[
    bool, typer.Option("--remove-schedule", help="With --pipeline: remove the schedule with these inputs and this output.")
]
PredictConfig = Annotated[
    Path | None, typer.Option(help="With --pipeline: a YAML file with what differs from the defaults, see configs/predict.yaml.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this group to the command line."""
    app.command(rich_help_panel=PANEL)(predict)


def predict(
    paths: Images = None,
    model: Model = None,
    version: Version = None,
    explain: Explain = None,
    exact: Exact = False,
    csv: Csv = False,
    pipeline: Pipeline = False,
    to: Output = None,
    cron: Cron = None,
    remove_schedule: RemoveSchedule = False,
    config: PredictConfig = None,
    overrides: Overrides = None,
    json_output: Json = False,
) -> None:
    """Predict images; bad files are listed, the rest is predicted, and the exit code is 1.

    With --pipeline any number of them: files of a folder, a bucket or a manifest, each part written whole; the same command goes on after
    an interruption, and bad files cost their rows alone.
    """
    if pipeline:
        if explain or csv:
            fail(SettingsError("--pipeline: expected neither --explain nor --csv, got one; leave it out: the output is Parquet"))
        given = {"inputs": paths or None, "output": to, "model_name": model, "version": version, "exact": exact or None}
        settings = _batch_settings(config, overrides, {name: value for name, value in given.items() if value is not None})
        _predict_in_bulk(settings, cron, json_output, remove_schedule=remove_schedule)
        return
    if any((to, config, overrides, cron, remove_schedule)):
        fail(
            SettingsError(
                "--to, --cron, --remove-schedule, --config and --set: expected --pipeline with them, got none; add --pipeline, or leave them out"
            )
        )
    if csv and json_output:
        fail(SettingsError("expected either --csv or --json, got both; leave one out"))
    if not paths:
        fail(SettingsError("expected images or folders of images, got none; name them: python run.py predict PATH"))
    if not any(map(os.path.exists, paths)):  # Path.exists raises where permission is missing
        fail(SettingsError(f"expected an image or a folder, got nothing at '{paths[0]}'"))

    from cli import prediction_text

    def work() -> "PredictionTable":
        from operations import prediction

        return prediction.predict(list(map(Path, paths)), model or DEFAULT_MODEL, version, explain, exact=exact)

    result = run("predict", work, prediction_text.csv_table if csv else prediction_text.predictions, json_output)
    if result.refused:
        raise typer.Exit(1)


def _batch_settings(config: Path | None, overrides: list[str] | None, given: dict[str, Any]) -> "BatchPredictionSettings":
    from imageloop.batch_prediction.settings import BatchPredictionSettings

    return load(BatchPredictionSettings, config, overrides, **given)


def _predict_in_bulk(
    settings: "BatchPredictionSettings",
    cron: str | None,
    json_output: bool,  # noqa: FBT001
    *,
    remove_schedule: bool,
) -> None:
    """Now or, by `cron`, on a schedule."""
    from cli import monitoring_text, prediction_text

    if cron is not None and remove_schedule:
        fail(SettingsError("expected either --cron or --remove-schedule, got both"))
    check_cron(cron)

    def work() -> "BatchPrediction | SubmittedRun":
        from operations import batch_prediction

        return batch_prediction.predict_batch(settings)

    def change_schedule() -> "Schedule | RemovedSchedule":
        from operations import scheduling

        return scheduling.unschedule_prediction(settings) if cron is None else scheduling.schedule_prediction(settings, cron)

    if cron is None and not remove_schedule:
        run("predict", work, prediction_text.batch, json_output)
    else:
        run("schedule", change_schedule, monitoring_text.schedule, json_output)
