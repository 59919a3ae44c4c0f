"""Choose the version that shall serve."""

from typing import Annotated

from zenml import log_metadata, step

from imageloop.lifecycle.rollback import candidate
from imageloop.promotion.step_artifacts import Candidate
from materializers.json_record import RecordMaterializer
from seldon.delivery.rollouts.settings import DeploySettings


@step(enable_cache=False, output_materializers={"candidate": RecordMaterializer})
def select(settings: DeploySettings) -> Annotated[Candidate, "candidate"]:
    """The champion, or the version that was asked for; never one that a gate refused, unless that is asked for too."""
    chosen = candidate(settings.model_name, settings.version, also_refused=settings.keep_refused_version)
    log_metadata({"registry_version": chosen.version})
    return chosen
