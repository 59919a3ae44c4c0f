"""What the service met since, with the labels that people gave: for a retraining."""

from typing import Annotated

from zenml import log_metadata, step

from imageloop.data.prepared_images import PreparedPictures
from imageloop.lifecycle.feedback import gather_experience
from imageloop.training.feedback_data import Experience
from imageloop.training.settings import ExperienceSettings
from imageloop.workspace_paths import Workspace
from materializers.feedback_data import ExperienceMaterializer
from steps.cache_keys import ON_CODE


@step(cache_policy=ON_CODE, output_materializers={"experience": ExperienceMaterializer})
def collect_feedback(
    prepared: PreparedPictures, settings: ExperienceSettings, model_name: str, fingerprint: str
) -> Annotated[Experience, "experience"]:
    """Nothing for a training that goes by pictures alone. `fingerprint` says which labels there are now."""
    if not settings.enabled:
        return Experience.none()
    experience = gather_experience(prepared, settings, model_name, Workspace.current())
    log_metadata({"labels_state": fingerprint, "labels": experience.labelled["role"].value_counts().to_dict()})
    return experience
