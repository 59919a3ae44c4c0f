"""Make the package a version in the registry, and the champion where it may be."""

from typing import Annotated

from zenml import get_step_context, log_metadata, step

from imageloop.data.prepared_images import PreparedImages
from imageloop.data.settings import DataSettings
from imageloop.lifecycle.register_and_promote import name_run, register_version
from imageloop.model.package import read_info
from imageloop.promotion.evaluation import Evaluation
from imageloop.promotion.gates import GateVerdict
from imageloop.promotion.settings import PromotionSettings
from imageloop.promotion.step_artifacts import MadeWith, ModelPackage, Registration
from imageloop.training.feedback_data import FeedbackData
from imageloop.training.settings import RETRAINED_BLOCKS, TrainingSettings, Transfer
from imageloop.workspace_paths import Workspace
from materializers.json_record import RecordMaterializer
from steps.cache_keys import ON_CODE_AND_CHAMPION
from steps.retained_images import retained_images


@step(cache_policy=ON_CODE_AND_CHAMPION, output_materializers={"registration": RecordMaterializer})
def register(
    package: ModelPackage,
    evaluation: Evaluation,
    verdict: GateVerdict,
    prepared: PreparedImages,
    tracking_run: str,
    feedback: FeedbackData,
    settings: PromotionSettings,
    data: DataSettings,
    training: TrainingSettings,
) -> Annotated[Registration, "registration"]:
    """Register a model, also a refused one, which is tagged; files that are registered already keep their version."""
    made_with = MadeWith(data=data, training=_as_trained(training, feedback, package), gates=settings.gates)
    registration = register_version(
        package, evaluation, verdict, prepared, tracking_run, feedback, settings, made_with, Workspace.current(),
        retained_images(feedback.deployment),
    )  # fmt: skip
    name_run(registration, made_with, evaluation, tracking_run)
    accuracy = evaluation.scores.accuracy
    facts = {
        "model": registration.name, "registry_version": registration.version, "outcome": registration.outcome, "reason": registration.reason,
        "accuracy": accuracy, "data_version": prepared.data_version,
    }  # fmt: skip
    log_metadata(facts)
    log_metadata(facts, infer_model=True)  # ZenML's model version points at the registry's
    log_metadata(facts, run_id_name_or_prefix=str(get_step_context().pipeline_run.id))
    return registration


def _as_trained(training: TrainingSettings, feedback: FeedbackData, package: ModelPackage) -> TrainingSettings:
    """The settings, with the blocks that images of labelled predictions trained besides."""
    model = training.model
    if not isinstance(model, Transfer) or not feedback.trains_blocks or read_info(package.folder).backbone:
        return training
    blocks = max(model.fine_tune_blocks, RETRAINED_BLOCKS)
    return training.model_copy(update={"model": model.model_copy(update={"fine_tune_blocks": blocks})})
