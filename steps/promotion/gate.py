"""Decide whether the model may serve."""

from typing import Annotated

from zenml import log_metadata, step

from imageloop.data.prepared_images import PreparedImages
from imageloop.lifecycle.compare_with_champion import compare
from imageloop.promotion.evaluation import Evaluation
from imageloop.promotion.gates import GateVerdict, judge
from imageloop.promotion.settings import PromotionSettings
from imageloop.promotion.step_artifacts import ModelPackage
from imageloop.training.feedback_data import FeedbackData
from materializers.gate_verdict import VerdictMaterializer
from steps.cache_keys import ON_CODE_AND_CHAMPION
from steps.retained_images import retained_images


@step(cache_policy=ON_CODE_AND_CHAMPION, output_materializers={"verdict": VerdictMaterializer})
def gate(
    exported_package: ModelPackage,
    evaluation: Evaluation,
    prepared: PreparedImages,
    feedback: FeedbackData,
    settings: PromotionSettings,
) -> Annotated[GateVerdict, "verdict"]:
    """Compare the metrics with the gates, and with the champion's predictions for the same and for recent images."""
    retained = retained_images(feedback.deployment)
    champion, recent = compare(exported_package.folder, prepared, feedback, settings.model_name, retained)
    verdict = judge(evaluation, champion, settings.gates, recent)
    log_metadata({"decision": verdict.decision, "reason": verdict.sentence()})
    return verdict
