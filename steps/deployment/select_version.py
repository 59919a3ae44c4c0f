"""Choose the version to deploy."""

from typing import Annotated

from zenml import log_metadata, step

from imageloop.lifecycle.choose_version import choose_candidate
from imageloop.promotion.step_artifacts import Candidate
from materializers.json_record import RecordMaterializer
from seldon.delivery.rollouts.settings import DeploySettings


@step(enable_cache=False, output_materializers={"candidate": RecordMaterializer})
def select(settings: DeploySettings) -> Annotated[Candidate, "candidate"]:
    """Select the champion or the requested version; a version that a gate refused only where the settings allow it."""
    chosen = choose_candidate(settings.model_name, settings.version, also_refused=settings.allow_refused_version)
    log_metadata({"registry_version": chosen.version})
    return chosen
