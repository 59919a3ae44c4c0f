"""Decide whether the model may serve."""

from typing import Annotated

from zenml import log_metadata, step

from adapters.champion import champion_on
from classifier.data.prepared import PreparedPictures
from classifier.promotion.evaluation import Evaluation
from classifier.promotion.gates import GateVerdict, judge
from classifier.promotion.settings import PromotionSettings
from materializers.verdict import VerdictMaterializer
from steps.caching import ON_CODE_AND_CHAMPION


@step(cache_policy=ON_CODE_AND_CHAMPION, output_materializers={"verdict": VerdictMaterializer})
def gate(evaluation: Evaluation, prepared: PreparedPictures, settings: PromotionSettings) -> Annotated[GateVerdict, "verdict"]:
    """Hold the figures against the gates, and against the champion's answers to the same pictures."""
    verdict = judge(evaluation, champion_on(prepared, settings.model_name), settings.gates)
    log_metadata({"decision": verdict.decision, "reason": verdict.sentence()})
    return verdict
