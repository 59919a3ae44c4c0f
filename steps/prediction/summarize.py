"""Summarize a batch prediction."""

from dataclasses import replace
from typing import Annotated

from zenml import log_metadata, step

from imageloop.adapters.mlflow_registry import ModelRegistry
from imageloop.batch_prediction.batch_report import batch_report
from imageloop.batch_prediction.job import open_output, write
from imageloop.batch_prediction.settings import BatchPredictionSettings
from imageloop.batch_prediction.step_artifacts import BatchOutput
from imageloop.batch_prediction.summary import BatchSummary
from imageloop.batch_prediction.summary import summarize as summarize_parts
from materializers.artifact_files import as_json
from materializers.batch_prediction import BatchSummaryMaterializer
from steps.prediction.run_inputs import offer_retained_inputs


@step(enable_cache=False, output_materializers={"summary": BatchSummaryMaterializer})
def summarize(output: BatchOutput, settings: BatchPredictionSettings) -> Annotated[BatchSummary, "summary"]:
    """Count classes and refused files, measure drift against the reference of the model, and write both beside the parts."""
    offer_retained_inputs()
    job = output.job
    folder = open_output(output.address, job)
    summary = summarize_parts(folder, job, ModelRegistry(job.model_name).package(job.model_version), settings.drift)
    summary = replace(summary, page=batch_report(summary))
    write(folder, "_summary.json", as_json(summary.as_dict()))
    write(folder, "_report.html", summary.page.encode(errors="replace"))
    log_metadata(
        {"images": summary.num_images, "refused": summary.num_refused, "drift": bool(summary.window and summary.window.alarm)}
    )
    return summary
