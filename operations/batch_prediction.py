"""Run the pipeline of a batch prediction on the active stack."""

import time
from dataclasses import dataclass
from typing import Any

from imageloop.adapters.ray_engine import check_address
from imageloop.adapters.step_resources import step_options
from imageloop.adapters.zenml_client import check_parts, finished_run, open_stack, runs_elsewhere
from imageloop.adapters.zenml_models import model_version, package_of
from imageloop.adapters.zenml_runs import named_run
from imageloop.batch_prediction.settings import BatchPredictionSettings, is_only_here
from imageloop.errors import SettingsError
from imageloop.workspace_paths import Workspace
from operations.training import SubmittedRun

STEP_NAMES = ("list_images", "predict_images", "summarize")


@dataclass(frozen=True)
class BatchPrediction:
    """A batch prediction that ended. `labels`: images by predicted class; `refused`: files by reason.

    `parts` were predicted by this run, `kept_parts` by an interrupted one. `drift_p_value` and `estimated_accuracy`: None where too few
    images were sampled; `out_of_distribution`: None where the package has no reference. `explanation`: the same in sentences.
    Units: `seconds` of the whole run; `images_a_second` of this run's images, listing and the summary included.
    """

    stack: str
    run: str
    output: str
    model_name: str
    model_version: str
    precision: str
    images: int
    labels: dict[str, int]
    refused: dict[str, int]
    parts: int
    kept_parts: int
    out_of_distribution: int | None
    drift: bool | None
    drift_p_value: float | None
    estimated_accuracy: float | None
    explanation: str
    seconds: float
    images_a_second: float


def predict_batch(settings: BatchPredictionSettings) -> BatchPrediction | SubmittedRun:
    """Predict the images of all inputs, write Parquet files and a summary, and go on where an earlier run was interrupted.

    Raises: ImageLoopError with the sentence of the step that failed, SettingsError for paths that the stack's machines cannot read.
    """
    started = time.monotonic()
    client = open_stack()
    if runs_elsewhere(client):
        refuse_local_paths(settings)
    else:
        check_address()
    check_parts(client)
    from zenml import Model

    from pipelines.batch_prediction import batch_prediction

    stack, workspace = client.active_stack_model.name, Workspace.current()
    settings = _with_version(settings)
    known = model_version(client, settings.model_name, settings.version) if settings.version else None
    model = Model(name=settings.model_name, version=known.number) if known else None
    with named_run(client, "batch_prediction", settings.model_name, workspace) as run_name:
        run = batch_prediction.with_options(model=model, run_name=run_name, steps=step_options(STEP_NAMES))(
            settings, package_of(known) if known else None
        )
    if run is None:  # an orchestrator that does not wait
        return SubmittedRun(stack)
    return _result_of(finished_run(client, run.id), stack, time.monotonic() - started)


def _with_version(settings: BatchPredictionSettings) -> BatchPredictionSettings:
    """These settings with the champion of now, so that every step means the same version; as they are where there is none."""
    from imageloop.adapters.mlflow_registry import ModelRegistry

    return (
        settings if settings.version else settings.model_copy(update={"version": ModelRegistry(settings.model_name).champion()})
    )


def refuse_local_paths(settings: BatchPredictionSettings) -> None:
    """Raises: SettingsError for inputs or an output that only this machine reaches."""
    for setting, names in (("inputs", settings.inputs), ("output", [settings.output or "a folder of this machine"])):
        local = [name for name in names if is_only_here(name)]
        if local:
            raise SettingsError(f"{setting}: expected an address that pods can reach (s3://bucket/folder), got '{local[0]}'")


def _result_of(run: Any, stack: str, seconds: float) -> BatchPrediction:
    from imageloop.batch_prediction.batch_report import lead

    output = run.steps["predict_images"].outputs["output"][0].load()
    summary = run.steps["summarize"].outputs["summary"][0].load()
    window = summary.window
    return BatchPrediction(
        stack=stack,
        run=str(run.name),
        output=output.address,
        model_name=summary.model_name,
        model_version=summary.model_version,
        precision=summary.precision,
        images=summary.num_images,
        labels=summary.labels,
        refused=summary.refused,
        parts=output.parts,
        kept_parts=output.kept_parts,
        out_of_distribution=summary.out_of_distribution,
        drift=window.alarm if window else None,
        drift_p_value=window.p_value if window else None,
        estimated_accuracy=window.estimated_accuracy if window and window.has_estimate else None,
        explanation=lead(summary),
        seconds=seconds,
        images_a_second=output.images / seconds,
    )
