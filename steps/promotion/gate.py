"""Decide whether the model may serve."""

from typing import Annotated

from zenml import log_metadata, step

from imageloop.data.prepared_images import PreparedPictures
from imageloop.lifecycle.champion import compare
from imageloop.promotion.evaluation import Evaluation
from imageloop.promotion.gates import GateVerdict, judge
from imageloop.promotion.settings import PromotionSettings
from imageloop.promotion.step_artifacts import ModelPackage
from imageloop.training.feedback_data import Experience
from materializers.gate_verdict import VerdictMaterializer
from steps.cache_keys import ON_CODE_AND_CHAMPION


@step(cache_policy=ON_CODE_AND_CHAMPION, output_materializers={"verdict": VerdictMaterializer})
def gate(
    exported_package: ModelPackage,
    evaluation: Evaluation,
    prepared: PreparedPictures,
    experience: Experience,
    settings: PromotionSettings,
) -> Annotated[GateVerdict, "verdict"]:
    """Hold the figures against the gates, and against the champion's answers to the same pictures and to recent ones."""
    champion, recent = compare(exported_package.folder, prepared, experience, settings.model_name)
    verdict = judge(evaluation, champion, settings.gates, recent)
    log_metadata({"decision": verdict.decision, "reason": verdict.sentence()})
    return verdict
