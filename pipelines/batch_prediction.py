"""From any number of images to Parquet files of predictions."""

from zenml import pipeline
from zenml.client import Client
from zenml.enums import ExecutionMode

from imageloop.batch_prediction.settings import BatchPredictionSettings
from pipelines.container_image import PIPELINE_IMAGE
from steps.prediction.list_images import list_images
from steps.prediction.predict_images import predict_images
from steps.prediction.summarize import summarize


@pipeline(execution_mode=ExecutionMode.FAIL_FAST, settings={"docker": PIPELINE_IMAGE})
def batch_prediction(settings: BatchPredictionSettings, package_id: str | None = None) -> None:
    """`package_id`: the package of the version, as an artifact of the run that made it: so its lineage goes on here."""
    images = list_images(settings)
    package = Client().get_artifact_version(package_id) if package_id else None
    output = predict_images(images, settings, package)
    summarize(output, settings)
