"""Hold what serves now against labelled pictures, through the gateway."""

from dataclasses import asdict
from typing import Annotated, Any

from zenml import log_metadata, step

from imageloop.adapters.endpoint_evaluation import evaluate_endpoint, folder_of
from imageloop.errors import ImageLoopError
from imageloop.promotion.step_artifacts import RolloutRecord
from seldon.delivery.rollouts.settings import DeploySettings


@step(enable_cache=False)
def evaluate_served(rollout: RolloutRecord, settings: DeploySettings) -> Annotated[dict[str, Any], "live_evaluation"]:
    """Accuracy, latency and errors; nothing where no labelled pictures are given."""
    wanted = settings.afterwards
    if wanted.data is None:
        return {}
    with folder_of(wanted.data) as folder:
        found = evaluate_endpoint(rollout.url, folder, wanted.clients)
    log_metadata({"accuracy": found.accuracy, "p95_ms": found.p95_ms, "failed": found.failed, "refused": found.refused})
    if found.accuracy < wanted.min_accuracy or found.failed:
        raise ImageLoopError(
            f"wanted an accuracy of at least {wanted.min_accuracy:.1%} and no failed request of what serves, found {found.accuracy:.1%} "
            f"and {found.failed}; python run.py rollback gives the traffic back"
        )
    return asdict(found)
