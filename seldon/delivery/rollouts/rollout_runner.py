"""Roll a version out stage by stage, undo a rollout that fails, and roll back to the version before."""

import logging
from collections.abc import Callable
from pathlib import Path

from imageloop.errors import ImageLoopError, SettingsError
from seldon.delivery.clusters.cluster_protocol import (
    Cluster,
    DeploymentError,
    NoEvidenceError,
    NotBegunError,
    ReplicaEndedError,
    UnfitVersionError,
)
from seldon.delivery.manifest import Manifest, PredictorSpec, bounds_of
from seldon.delivery.model_server_settings import server_of
from seldon.delivery.rollouts.candidate_package import CandidatePackage
from seldon.delivery.rollouts.rollout_run import Rollout, RolloutRun
from seldon.delivery.rollouts.rollout_verdicts import Verdict
from seldon.delivery.rollouts.settings import DeploySettings

logger = logging.getLogger(__name__)


class RolloutStoppedError(ImageLoopError):
    """A rollout that was undone."""

    def __init__(self, rollout: Rollout) -> None:
        left = f"version {rollout.before} has all traffic" if rollout.before else "nothing serves"
        if rollout.left_undone:
            left = f"it could not be undone ({rollout.left_undone}), the next deploy or rollback does that"
        super().__init__(
            f"version {rollout.version} was rolled back: {rollout.reason}; {left}"
            + f" (meanwhile it served {rollout.exposure:.1%} of the requests)"
            + (
                ""
                if rollout.unfit or rollout.unproved
                else "; the version keeps its title: once the cause is mended, deploy it again"
            )
        )
        self.rollout = rollout


def roll_out(
    cluster: Cluster,
    settings: DeploySettings,
    candidate: PredictorSpec,
    report: Callable[[str, Verdict], None] = lambda _stage, _verdict: None,
    package: CandidatePackage | None = None,
) -> Rollout:
    """Roll `candidate` out as the strategy says. `package`: a copy of its package, whose smoke-test and test images are sent first.

    Raises: RolloutStoppedError when it was undone, DeploymentError while another rollout is under way or the cluster refuses to begin.
    """
    with cluster.changing(settings.namespace, settings.name):
        before = undo_interrupted(cluster, settings.namespace, settings.name)
        stable = _serving(before) if before else None
        rollout = Rollout("promoted", candidate.version, stable.version if stable else None)
        if before and stable and stable.is_same_process_as(candidate) and _has_same_numbers(stable, candidate):
            cluster.apply(before)  # starts again whatever of it had died
            return Rollout("unchanged", candidate.version, stable.version, "this version serves already")
        run = RolloutRun(
            cluster, settings, before, stable, candidate, rollout, report, package or CandidatePackage(_folder_of(candidate))
        )
        replaced = before if stable and stable.name == candidate.name else None
        try:
            if replaced:
                run.replace(replaced)
            else:
                run.carry_out()
        except BaseException as error:
            if isinstance(error, NotBegunError | SettingsError) and cluster.get(settings.namespace, settings.name) == before:
                raise
            rollout.left_undone = _undo(cluster, settings.namespace, settings.name, before)
            if isinstance(error, ImageLoopError):
                rollout.outcome, rollout.reason = "rolled_back", str(error)
                rollout.unproved = isinstance(error, NoEvidenceError)
                rollout.unfit = replaced is None and _speaks_against(candidate, error)
                raise RolloutStoppedError(rollout) from error
            raise
        return rollout


def _has_same_numbers(stable: PredictorSpec, candidate: PredictorSpec) -> bool:
    """Whether the same number of replicas is asked for, or the same bounds, between which some other number runs now; and the same memory."""
    bounds = bounds_of(candidate)
    if server_of(stable) != server_of(candidate):
        return False
    return bounds_of(stable) == bounds and (bounds is not None or stable.replicas == candidate.replicas)


def _speaks_against(candidate: PredictorSpec, error: ImageLoopError) -> bool:
    """Whether the version is at fault; where the stable version's replicas end too, the cluster is.

    Where several versions serve together, none of them is: each keeps its title.
    """
    if candidate.graph.children:
        return False
    if isinstance(error, ReplicaEndedError):
        return error.predictor == candidate.name
    return isinstance(error, UnfitVersionError)


def undo_interrupted(cluster: Cluster, namespace: str, name: str) -> Manifest | None:
    """Undo a rollout that was killed in the middle, and return the manifest after it. Call it within `changing`."""
    manifest = cluster.get(namespace, name)
    if manifest is None or manifest.rollout is None:
        return manifest
    logger.warning("a rollout of '%s' to %s was interrupted; undoing it", manifest.key, manifest.rollout.to_predictor)
    stable = settled(manifest)
    if stable is None:
        cluster.delete(namespace, name)
        return None
    whole = manifest.with_predictors([stable.model_copy(update={"traffic": 100, "shadow": False})], None)
    cluster.apply(whole)
    return whole


def settled(manifest: Manifest) -> PredictorSpec | None:
    """The predictor that serves; during a rollout, the one that served before it."""
    if manifest.rollout is None:
        return _serving(manifest)
    return manifest.predictor(manifest.rollout.from_predictor) if manifest.rollout.from_predictor else None


def roll_back(cluster: Cluster, namespace: str, name: str) -> Rollout:
    """Give all traffic to the previous version; if it does not get ready, nothing changes.

    Raises: DeploymentError where there is none, or it does not get ready.
    """
    with cluster.changing(namespace, name):
        manifest = cluster.get(namespace, name)
        if manifest is None:
            raise DeploymentError(
                f"expected a deployment '{namespace}/{name}' to roll back, got none; run: python run.py deploy --model {name}"
            )
        if manifest.rollout is not None:
            now = manifest.rollout.to_predictor
            model_name = (manifest.predictor(now) or _serving(manifest)).model_name
            undone = undo_interrupted(cluster, namespace, name)
            stable = _serving(undone) if undone else None
            before = stable.version if stable else None
            return Rollout("rolled_back", now.removeprefix("v"), before, "the rollout was undone", model_name=model_name)
        history = manifest.history
        if len(history) < 2:
            serving = _serving(manifest)
            raise DeploymentError(
                f"expected a version before {serving.version} of '{manifest.key}', got none in its history; to deploy another one: "
                f"python run.py deploy --model {serving.model_name} --version VERSION"
            )
        bad, good = history[-1], history[-2]
        try:
            cluster.apply(manifest.with_predictors([good.model_copy(update={"traffic": 100})], None).with_history(history[:-1]))
        except BaseException:
            _undo(cluster, namespace, name, manifest)
            raise
        return Rollout("rolled_back", bad.version, good.version, "asked for", model_name=bad.model_name)


def _undo(cluster: Cluster, namespace: str, name: str, before: Manifest | None) -> str:
    """Apply the previous manifest. Returns the reason if that failed: it must not hide what ended the rollout."""
    try:
        if before is not None and cluster.get(namespace, name) == before:
            return ""  # it was refused before anything changed
        if before is not None:
            cluster.apply(before)
        elif cluster.get(namespace, name) is not None:
            cluster.delete(namespace, name)
    except ImageLoopError as error:
        logger.warning("the rollout could not be undone: %s", error)
        return str(error)
    return ""


def _serving(manifest: Manifest) -> PredictorSpec:
    """The predictor with most of the traffic."""
    weights = manifest.weights
    name = max(weights, key=weights.__getitem__)
    return next(predictor for predictor in manifest.spec.predictors if predictor.name == name)


def _folder_of(predictor: PredictorSpec) -> Path | None:
    uri = predictor.graph.model_uri or ""
    return Path(uri.removeprefix("file://")) if uri.startswith("file://") else None
