"""Roll the candidate out, stage after stage."""

import logging
from collections.abc import Sequence
from typing import Annotated

from zenml import log_metadata, step

from imageloop.adapters.mlflow_registry import ModelRegistry, UnknownVersionError
from imageloop.adapters.mlflow_tracking import connect
from imageloop.lifecycle.choose_version import check_same_classes, check_still_deployable, package_of
from imageloop.lifecycle.compare_with_champion import taught_by
from imageloop.lifecycle.rollback import note_rollback, record_noted_rollbacks, record_verdict
from imageloop.model.served_versions import registered_version, versions_in
from imageloop.promotion.step_artifacts import Candidate, RolloutRecord
from imageloop.workspace_paths import Workspace
from materializers.json_record import RecordMaterializer
from seldon.delivery.clusters.cluster_protocol import Cluster
from seldon.delivery.clusters.local.local_cluster import LocalCluster
from seldon.delivery.deployer.active_deployer import active_deployer
from seldon.delivery.manifest import PredictorSpec, scaled_between
from seldon.delivery.model_server_settings import server_of, shared
from seldon.delivery.render_candidate import render_candidate
from seldon.delivery.rollouts.candidate_package import CandidatePackage
from seldon.delivery.rollouts.rollout_run import Rollout
from seldon.delivery.rollouts.rollout_runner import RolloutStoppedError, settled
from seldon.delivery.rollouts.rollout_verdicts import Verdict
from seldon.delivery.rollouts.settings import DeploySettings

logger = logging.getLogger(__name__)


def _record_rollback(candidate: Candidate, rollout: Rollout, registry: str) -> None:
    """Write the note first: an unreachable registry must not lose the reason for the rollback."""
    workspace = Workspace.current()
    if rollout.unfit:
        note_rollback(candidate.model_name, candidate.version, rollout.before, rollout.reason, workspace, registry=registry)
    try:
        if rollout.unfit:
            record_noted_rollbacks(workspace)
        log_metadata({"outcome": "rolled_back", "reason": rollout.reason, "exposure": rollout.exposure})
    except Exception as error:
        logger.warning("the rollback of version %s could not be recorded: %s", candidate.version, error)


def _unfair_images(candidate: Candidate, stable: PredictorSpec | None, beside: Sequence[str]) -> frozenset[str]:
    """SHA-256 of the images that trained the version that serves, or one that shall serve `beside` the candidate, as far as they are known."""
    serving = versions_in(stable.version) if stable and stable.model_name == candidate.model_name else []
    found: set[str] = set()
    for version in {*serving, *beside}:
        try:
            found |= taught_by(ModelRegistry(candidate.model_name), [version], Workspace.current())
        except UnknownVersionError as error:
            logger.warning("the images that trained version %s are not known: %s", version, error)
    return frozenset(found)


def _record_of(rollout: Rollout, settings: DeploySettings, cluster: Cluster) -> RolloutRecord:
    deployed = cluster.describe(settings.namespace, settings.name)
    return RolloutRecord(
        name=settings.name,
        namespace=settings.namespace,
        version=rollout.version,
        before=rollout.before,
        outcome=rollout.outcome,
        reason=rollout.reason,
        url=deployed.url if deployed else "",
        exposure=rollout.exposure,
        smoke=rollout.smoke,
        verdicts=[f"{stage}: {verdict.decision}, {verdict.reason}" for stage, verdict in rollout.verdicts],
    )


@step(enable_cache=False, output_materializers={"rollout": RecordMaterializer})
def roll_out(candidate: Candidate, settings: DeploySettings) -> Annotated[RolloutRecord, "rollout"]:
    """Run each stage of the rollout. A version that is rolled back for its own fault loses the champion alias, and the run fails."""

    def report(stage: str, verdict: Verdict) -> None:
        """An unreachable tracker is no reason to roll a healthy version back."""
        recorded = {"decision": verdict.decision, "reason": verdict.reason, "metrics": str(verdict.metrics)}
        try:
            log_metadata({f"verdict_{stage}": recorded})
            record_verdict(candidate.run_id, stage, verdict.metrics)
        except Exception as error:
            logger.warning("the verdict of stage '%s' could not be recorded: %s", stage, error)

    deployer, folder = active_deployer(), package_of(candidate)
    predictor = render_candidate(candidate, settings)
    if isinstance(deployer.cluster, LocalCluster):  # pods are scaled by the cluster
        predictor = shared(scaled_between(predictor, settings.replicas, settings.max_replicas), settings.server)
    registry = connect()
    registered = check_still_deployable(candidate, also_refused=settings.allow_refused_version)
    serving = deployer.cluster.get(settings.namespace, settings.name)
    stable = settled(serving) if serving else None
    if settings.server is None and stable is not None and (left := server_of(stable)) is not None:
        logger.warning(
            "'%s' leaves the server '%s' for processes of its own; deploy it by the file of the server to keep it there",
            settings.name,
            left.name,
        )
    if stable is not None and not settings.allow_class_change:
        check_same_classes(candidate, folder, stable.model_name, registered_version(stable.version))
    beside = settings.graph.with_versions if settings.graph else ()
    package = CandidatePackage(folder, _unfair_images(candidate, stable, beside), registered.overruled, of_several=bool(beside))
    try:
        rollout = deployer.roll_out(settings, predictor, report, package, "deployment", "roll_out")
    except RolloutStoppedError as error:
        _record_rollback(candidate, error.rollout, registry)
        raise
    record = _record_of(rollout, settings, deployer.cluster)
    log_metadata({"outcome": record.outcome, "url": record.url, "exposure": record.exposure})
    return record
