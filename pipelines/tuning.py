"""From a folder of images to a registered model whose settings were searched."""

from zenml import pipeline
from zenml.enums import ExecutionMode

from imageloop.data.settings import DataSettings
from imageloop.promotion.settings import PromotionSettings
from imageloop.training.settings import FeedbackSettings, TrainingSettings
from imageloop.tuning.settings import SearchSettings
from pipelines.container_image import PIPELINE_IMAGE
from pipelines.training_parts import prepared_data, registered_model
from steps.training.collect_feedback import collect_feedback
from steps.tuning.search import search


@pipeline(execution_mode=ExecutionMode.FAIL_FAST, settings={"docker": PIPELINE_IMAGE})
def tuning(
    data: DataSettings,
    training: TrainingSettings,
    promotion: PromotionSettings,
    searching: SearchSettings,
    side_pixels: int,
    fingerprint: str,
) -> None:
    found = prepared_data(data, side_pixels, fingerprint)
    none = collect_feedback(found.prepared, FeedbackSettings(), promotion.model_name, "")
    _, tuned = search(found.prepared, training, searching, promotion.model_name)
    registered_model(found, none, tuned, training, data, promotion)
