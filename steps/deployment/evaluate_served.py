"""Test the deployed version with labelled images, through the gateway."""

from dataclasses import asdict
from typing import Annotated, Any

from zenml import log_metadata, step

from imageloop.adapters.endpoint_evaluation import evaluate_endpoint, folder_of
from imageloop.errors import ImageLoopError
from imageloop.promotion.step_artifacts import RolloutRecord
from seldon.delivery.rollouts.settings import DeploySettings


@step(enable_cache=False)
def evaluate_served(rollout: RolloutRecord, settings: DeploySettings) -> Annotated[dict[str, Any], "live_evaluation"]:
    """Measure accuracy, latency and errors through the gateway; returns nothing without labelled images."""
    afterwards = settings.afterwards
    if afterwards.data is None:
        return {}
    with folder_of(afterwards.data) as folder:
        evaluation = evaluate_endpoint(rollout.url, folder, afterwards.clients)
    log_metadata(
        {"accuracy": evaluation.accuracy, "p95_ms": evaluation.p95_ms, "failed": evaluation.failed, "refused": evaluation.refused}
    )
    if evaluation.accuracy < afterwards.min_accuracy or evaluation.failed:
        raise ImageLoopError(
            f"expected an accuracy of at least {afterwards.min_accuracy:.1%} and no failed request, got {evaluation.accuracy:.1%} "
            f"and {evaluation.failed}; python run.py rollback restores the previous version"
        )
    return asdict(evaluation)
