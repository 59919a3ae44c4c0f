"""From any number of images to Parquet files of predictions."""

from zenml import pipeline
from zenml.enums import ExecutionMode

from imageloop.batch_prediction.settings import BatchPredictionSettings
from pipelines.container_image import PIPELINE_IMAGE
from steps.prediction.list_images import list_images
from steps.prediction.predict_images import predict_images
from steps.prediction.summarize import summarize


@pipeline(execution_mode=ExecutionMode.FAIL_FAST, settings={"docker": PIPELINE_IMAGE})
def batch_prediction(settings: BatchPredictionSettings) -> None:
    images = list_images(settings)
    output = predict_images(images, settings)
    summarize(output, settings)
