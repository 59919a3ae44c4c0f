"""Make the package a version in the registry, and the champion where it may be."""

from typing import Annotated

from zenml import log_metadata, step

from adapters.promotion import register_version
from classifier.data.prepared import PreparedPictures
from classifier.data.settings import DataSettings
from classifier.promotion.evaluation import Evaluation
from classifier.promotion.gates import GateVerdict
from classifier.promotion.records import MadeWith, ModelPackage, Registration
from classifier.promotion.settings import PromotionSettings
from classifier.training.experience import Experience
from classifier.training.settings import TrainingSettings
from classifier.workspace import Workspace
from materializers.records import RecordMaterializer
from steps.caching import ON_CODE_AND_CHAMPION


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
