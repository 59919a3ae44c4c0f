"""The command that predicts: a table of some images now, or Parquet files of any number by a pipeline."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.command import fail, load, run
from cli.options import DEFAULT_MODEL, Json, Model, Overrides, Version
from imageloop.errors import SettingsError

if TYPE_CHECKING:
    from operations.batch_prediction import BatchPrediction
    from operations.prediction import PredictionTable
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
        _predict_batch(config, overrides, {name: value for name, value in given.items() if value is not None}, json_output)
        return
    if to or config or overrides:
        fail(
            SettingsError("--to, --config and --set: expected --pipeline with them, got none; add --pipeline, or leave them out")
        )
    if not paths:
        fail(SettingsError("expected images or folders of images, got none; name them: python run.py predict PATH"))
    for path in paths:
        if not os.path.exists(path):  # noqa: PTH110 - Path.exists raises where permission is missing
            fail(SettingsError(f"expected an image or a folder, got nothing at '{path}'"))

    from cli import prediction_text

    def work() -> "PredictionTable":
        from operations import prediction

        return prediction.predict(list(map(Path, paths)), model or DEFAULT_MODEL, version, explain, exact=exact)

    result = run("predict", work, prediction_text.csv_table if csv else prediction_text.predictions, json_output)
    if result.refused:
        raise typer.Exit(1)


def _predict_batch(
    config: Path | None,
    overrides: list[str] | None,
    given: dict[str, Any],
    json_output: bool,  # noqa: FBT001
) -> None:
    from cli import prediction_text
    from imageloop.batch_prediction.settings import BatchPredictionSettings

    settings = load(BatchPredictionSettings, config, overrides, **given)

    def work() -> "BatchPrediction | SubmittedRun":
        from operations import batch_prediction

        return batch_prediction.predict_batch(settings)

    run("predict", work, prediction_text.batch, json_output)
