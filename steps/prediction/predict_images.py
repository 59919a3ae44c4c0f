"""Predict listed images and write Parquet files."""

from typing import Annotated

import pandas as pd
from zenml import get_step_context, log_metadata, step

from imageloop.adapters.ray_engine import open_engine
from imageloop.batch_prediction.job import BatchJob, open_output
from imageloop.batch_prediction.part_table import BatchModel
from imageloop.batch_prediction.predict_parts import PackageFiles, predict_parts
from imageloop.batch_prediction.settings import BatchPredictionSettings
from imageloop.batch_prediction.step_artifacts import BatchOutput
from imageloop.lifecycle.registered_predictor import load_version
from imageloop.model.signing import public_key
from imageloop.promotion.step_artifacts import ModelPackage
from imageloop.workspace_paths import Workspace
from materializers.json_record import RecordMaterializer
from steps.prediction.run_inputs import of_this_run, offer_retained_inputs


@step(enable_cache=False, output_materializers={"output": RecordMaterializer})
def predict_images(
    images: pd.DataFrame, settings: BatchPredictionSettings, package: ModelPackage | None = None
) -> Annotated[BatchOutput, "output"]:
    """Parts that an interrupted run has written are kept; the others are predicted now.

    `package`: the artifact of the version, where this ZenML has it; else the registry's files are used.
    """
    offer_retained_inputs()
    settings = of_this_run(settings)
    loaded = load_version(
        settings.model_name, settings.version, exact=settings.exact, folder=package.folder if package is not None else None
    )
    job = BatchJob.of(images, settings, loaded.predictor, loaded.version)
    address = settings.output or str(
        Workspace.current().home / "predictions" / f"{settings.model_name}-{loaded.version}-{job.digest[:8]}"
    )
    engine, run = open_engine(), str(get_step_context().pipeline_run.name)
    model = (
        BatchModel(loaded.predictor, loaded.novelty)
        if engine.is_this_process
        else PackageFiles.of(loaded.folder, public_key(Workspace.current().keys), exact=settings.exact)
    )
    done = predict_parts(images, job, model, open_output(address, job), settings.max_sampled, run, engine)
    output = BatchOutput(address=address, job=job, parts=done.parts, images=done.images, kept_parts=done.kept_parts)
    log_metadata({"output": address, "registry_version": loaded.version, "parts": done.parts, "kept_parts": done.kept_parts})
    return output
