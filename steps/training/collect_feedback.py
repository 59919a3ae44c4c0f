"""Collect feedback data for a retraining."""

from typing import Annotated

from zenml import log_metadata, step

from imageloop.data.prepared_images import PreparedImages
from imageloop.lifecycle.feedback_for_training import collect_feedback_data
from imageloop.training.feedback_data import FeedbackData
from imageloop.training.settings import FeedbackSettings
from imageloop.workspace_paths import Workspace
from materializers.feedback_data import FeedbackDataMaterializer
from steps.cache_keys import ON_CODE
from steps.retained_images import retained_images


@step(cache_policy=ON_CODE, output_materializers={"feedback": FeedbackDataMaterializer})
def collect_feedback(
    prepared: PreparedImages, settings: FeedbackSettings, model_name: str, fingerprint: str
) -> Annotated[FeedbackData, "feedback"]:
    """Return nothing for a training without feedback. `fingerprint` identifies the present labels."""
    if not settings.enabled:
        return FeedbackData.none()
    retained = retained_images(settings.deployment)
    feedback = collect_feedback_data(prepared, settings, model_name, Workspace.current(), retained)
    compared = {"retraining": feedback.ladder.sentence()} if feedback.ladder else {}
    log_metadata({"labels_state": fingerprint, "labels": feedback.labelled["role"].value_counts().to_dict()} | compared)
    return feedback
