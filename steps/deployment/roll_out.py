"""Let the candidate take over."""

import logging
from typing import Annotated

from zenml import log_metadata, step

from imageloop.adapters.mlflow_tracking import connect
from imageloop.lifecycle.rollback import note_rollback, package_of, still_chosen, tell_of_rollbacks, tell_of_verdict
from imageloop.promotion.step_artifacts import Candidate, RolloutRecord
from imageloop.workspace_paths import Workspace
from materializers.json_record import RecordMaterializer
from seldon.delivery.deployer.active_deployer import active_deployer
from seldon.delivery.manifest import render_predictor
from seldon.delivery.rollouts.rollout_runner import Rollout, RolloutStoppedError
from seldon.delivery.rollouts.rollout_verdicts import Verdict
from seldon.delivery.rollouts.settings import DeploySettings

logger = logging.getLogger(__name__)


def _tell(candidate: Candidate, rollout: Rollout, registry: str) -> None:
    """Noted first, and told as far as somebody listens: why the rollout was undone must not be lost over that."""
    workspace = Workspace.current()
    if rollout.unfit:
        note_rollback(candidate.model_name, candidate.version, rollout.before, rollout.reason, workspace, registry=registry)
    try:
        if rollout.unfit:
            tell_of_rollbacks(workspace)
        log_metadata({"outcome": "rolled_back", "reason": rollout.reason, "exposure": rollout.exposure})
    except Exception as error:
        logger.warning("that version %s was rolled back could not be told: %s", candidate.version, error)


@step(enable_cache=False, output_materializers={"rollout": RecordMaterializer})
def roll_out(candidate: Candidate, settings: DeploySettings) -> Annotated[RolloutRecord, "rollout"]:
    """Stage after stage, each with its verdict; a version that is rolled back for its own faults loses its title, and the run fails."""

    def report(stage: str, verdict: Verdict) -> None:
        """A healthy version is not taken back because nobody could be told of it."""
        found = {"decision": verdict.decision, "reason": verdict.reason, "figures": str(verdict.figures)}
        try:
            log_metadata({f"verdict_{stage}": found})
            tell_of_verdict(candidate.run_id, stage, verdict.figures)
        except Exception as error:
            logger.warning("the verdict of '%s' could not be told: %s", stage, error)

    deployer = active_deployer()
    predictor = render_predictor(
        version=candidate.version,
        model_name=candidate.model_name,
        model_uri=candidate.uri,
        replicas=settings.replicas,
        image=settings.image,
        environment=settings.environment,
    )
    package, registry = package_of(candidate), connect()
    still_chosen(candidate, also_refused=settings.keep_refused_version)
    try:
        rollout = deployer.roll_out(settings, predictor, report, package, "deployment", "roll_out")
    except RolloutStoppedError as error:
        _tell(candidate, error.rollout, registry)
        raise
    found = deployer.cluster.describe(settings.namespace, settings.name)
    record = RolloutRecord(
        name=settings.name,
        namespace=settings.namespace,
        version=rollout.version,
        before=rollout.before,
        outcome=rollout.outcome,
        reason=rollout.reason,
        url=found.url if found else "",
        exposure=rollout.exposure,
        smoke=rollout.smoke,
        verdicts=[f"{stage}: {verdict.decision}, {verdict.reason}" for stage, verdict in rollout.verdicts],
    )
    log_metadata({"outcome": record.outcome, "url": record.url, "exposure": record.exposure})
    return record
