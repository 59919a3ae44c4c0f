"""From a folder of images to a registered model."""

from zenml import pipeline
from zenml.enums import ExecutionMode

from imageloop.data.settings import DataSettings
from imageloop.promotion.settings import PromotionSettings
from imageloop.training.settings import FeedbackSettings, TrainingSettings
from pipelines.container_image import PIPELINE_IMAGE
from pipelines.training_parts import prepared_data, registered_model
from steps.training.collect_feedback import collect_feedback


@pipeline(execution_mode=ExecutionMode.FAIL_FAST, settings={"docker": PIPELINE_IMAGE})
def training(
    data: DataSettings,
    training: TrainingSettings,
    promotion: PromotionSettings,
    feedback: FeedbackSettings,
    side_pixels: int,
    fingerprint: str,
    feedback_fingerprint: str,
) -> None:
    found = prepared_data(data, side_pixels, fingerprint)
    met = collect_feedback(found.prepared, feedback, promotion.model_name, feedback_fingerprint)
    registered_model(found, met, training, training, data, promotion)
