"""Test the deployed version with labelled images, through the gateway."""

from dataclasses import asdict
from typing import Annotated, Any

from zenml import log_metadata, step

from imageloop.adapters.endpoint_evaluation import LiveEvaluation, evaluate_endpoint, folder_of
from imageloop.adapters.mlflow_tracking import connect
from imageloop.errors import ImageLoopError
from imageloop.lifecycle.rollback import note_rollback, record_noted_rollbacks
from imageloop.promotion.step_artifacts import RolloutRecord
from imageloop.workspace_paths import Workspace
from seldon.delivery.deployer.active_deployer import active_deployer
from seldon.delivery.rollouts.rollout_runner import roll_back
from seldon.delivery.rollouts.settings import AfterwardsSettings, DeploySettings


@step(enable_cache=False)
def evaluate_served(rollout: RolloutRecord, settings: DeploySettings) -> Annotated[dict[str, Any], "live_evaluation"]:
    """Measure accuracy, latency and errors through the gateway; returns nothing without labelled images.

    A version that fails is rolled back, and the run fails.
    """
    afterwards = settings.afterwards
    if afterwards.data is None:
        return {}
    with folder_of(afterwards.data) as folder:
        evaluation = evaluate_endpoint(rollout.url, folder, afterwards.clients)
    log_metadata(
        {"accuracy": evaluation.accuracy, "p95_ms": evaluation.p95_ms, "failed": evaluation.failed, "refused": evaluation.refused}
    )
    if shortfall := _shortfall(evaluation, afterwards):
        raise ImageLoopError(f"{shortfall}; {_undo(rollout, settings, shortfall)}")
    return asdict(evaluation)


def _shortfall(evaluation: LiveEvaluation, afterwards: AfterwardsSettings) -> str:
    if evaluation.accuracy >= afterwards.min_accuracy and not evaluation.failed:
        return ""
    low, high = evaluation.interval
    return (
        f"expected an accuracy of at least {afterwards.min_accuracy:.1%} and no failed request after the rollout, got "
        f"{evaluation.accuracy:.1%} ({low:.1%} to {high:.1%}, {evaluation.count} images) and {evaluation.failed}"
    )


def _undo(rollout: RolloutRecord, settings: DeploySettings, reason: str) -> str:
    """Return to the version before, where this rollout replaced one, and say so."""
    if rollout.outcome != "promoted" or rollout.before is None:
        return f"version {rollout.version} keeps serving, for this rollout replaced none"
    workspace = Workspace.current()
    undone = roll_back(active_deployer().cluster, rollout.namespace, rollout.name)
    note_rollback(settings.model_name, undone.version, undone.before, reason, workspace, registry=connect())
    record_noted_rollbacks(workspace)
    return f"version {undone.version} was rolled back, and version {undone.before} has all traffic again"
