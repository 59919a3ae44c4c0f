"""Make the package a version in the registry, and the champion where it may be."""

from typing import Annotated

from zenml import log_metadata, step

from imageloop.data.prepared_images import PreparedPictures
from imageloop.data.settings import DataSettings
from imageloop.lifecycle.promotion import register_version
from imageloop.promotion.evaluation import Evaluation
from imageloop.promotion.gates import GateVerdict
from imageloop.promotion.settings import PromotionSettings
from imageloop.promotion.step_artifacts import MadeWith, ModelPackage, Registration
from imageloop.training.feedback_data import Experience
from imageloop.training.settings import TrainingSettings
from imageloop.workspace_paths import Workspace
from materializers.json_record import RecordMaterializer
from steps.cache_keys import ON_CODE_AND_CHAMPION


@step(cache_policy=ON_CODE_AND_CHAMPION, output_materializers={"registration": RecordMaterializer})
def register(
    package: ModelPackage,
    evaluation: Evaluation,
    verdict: GateVerdict,
    prepared: PreparedPictures,
    tracking_run: str,
    experience: Experience,
    settings: PromotionSettings,
    data: DataSettings,
    training: TrainingSettings,
) -> Annotated[Registration, "registration"]:
    """A refused model is registered as refused; files that are registered already keep their version."""
    registration = register_version(
        package,
        evaluation,
        verdict,
        prepared,
        tracking_run,
        experience,
        settings,
        MadeWith(data=data, training=training),
        Workspace.current(),
    )
    facts = {"registry_version": registration.version, "outcome": registration.outcome, "data_version": prepared.data_version}
    log_metadata(facts)
    log_metadata(facts, infer_model=True)  # ZenML's model version points at the registry's
    return registration
