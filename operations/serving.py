"""Show the deployments, roll back, and stop them."""

import logging
import time
from contextlib import ExitStack
from dataclasses import dataclass

from imageloop.adapters.active_stack import active_stack_id
from imageloop.adapters.zenml_client import open_store
from imageloop.errors import ImageLoopError
from imageloop.model.served_versions import registered_version, versions_in
from imageloop.workspace_paths import Workspace
from seldon.delivery.clusters.cluster_protocol import Cluster, DeploymentStatus, PredictorStatus, ReplicaStatus
from seldon.delivery.clusters.open_cluster import open_cluster
from seldon.delivery.clusters.settings import LocalSettings
from seldon.delivery.deployer.last_deployment import Deployed, read_deployed, read_last
from seldon.delivery.manifest import OngoingRollout

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServedPredictor:
    """One predictor: its version, its share of the traffic in percent, its replicas."""

    name: str
    version: str
    traffic: int
    shadow: bool
    expected: int
    ready: int
    replicas: list[ReplicaStatus]


@dataclass(frozen=True)
class ServedDeployment:
    """One deployment. `rollout` names the versions of a rollout that is under way, or was interrupted where `rollout_is_running` is false."""

    namespace: str
    name: str
    state: str
    description: str
    url: str
    notes: list[str]
    rollout: OngoingRollout | None
    rollout_is_running: bool | None
    predictors: list[ServedPredictor]


@dataclass(frozen=True)
class ServingStatus:
    """All that serves, and the addresses of its Prometheus metrics."""

    cluster: str
    deployments: list[ServedDeployment]
    metrics: list[str]


@dataclass(frozen=True)
class RollbackResult:
    """A rollback from one version to the version before. Units: `seconds` until the traffic had moved."""

    namespace: str
    name: str
    from_version: str
    to_version: str | None
    seconds: float


@dataclass(frozen=True)
class StoppedDeployments:
    """The stopped deployments, as namespace/name. `kept`: `deploy --resume` can start it again."""

    cluster: str
    stopped: list[str]
    kept: bool


def status(name: str | None = None) -> ServingStatus:
    """Return the state of the deployments on the cluster of the active stack. `name`: of one, also as namespace/name; by default all.

    Raises: ImageLoopError where nothing was ever deployed, or not this one; DeploymentError where the cluster does not respond.
    """
    deployed, cluster = _deployment(name)
    name = None if name is None else deployed.name
    manifests = cluster.belonging_to(deployed.namespace, deployed.name)
    if name is not None:
        known, named = [one.metadata.name for one in manifests], cluster.get(deployed.namespace, name)
        manifests = [named] if named else []
        if named is None:
            raise ImageLoopError(
                f"expected a deployment '{name}', got only: {', '.join(known) or 'none'}; name one, or run: python run.py deploy --model NAME"
            )
    states = [cluster.describe(one.metadata.namespace, one.metadata.name) for one in manifests]
    rollouts = {one.key: one.rollout for one in manifests if one.rollout}
    running = {key: cluster.is_changing(*key.split("/")) for key in rollouts}
    return ServingStatus(
        cluster=deployed.cluster.kind,
        deployments=[_state_of(one, rollouts, running) for one in states if one is not None],
        metrics=cluster.metrics_addresses(),
    )


def traffic_of(model_name: str) -> dict[str, int] | None:
    """The percentage of the traffic that each version of a model has in the deployments of this machine; None where none is deployed here.

    Versions that serve together are among them one by one, and together, as `4+3`.

    On a shared cluster it is `status` that asks.
    """
    deployed = read_deployed(Workspace.current(), active_stack_id())
    if deployed is None or not isinstance(deployed.cluster, LocalSettings):
        return None
    cluster = open_cluster(deployed.cluster, Workspace.current())
    manifests = cluster.belonging_to(deployed.namespace, deployed.name)
    parts = [(manifest, part) for manifest in manifests for part in manifest.spec.predictors if part.model_name == model_name]
    traffic = [
        (version, manifest.weights.get(part.name, 0))
        for manifest, part in parts
        for version in {part.version, *versions_in(part.version)}
    ]
    return dict(sorted(traffic, key=lambda share: share[1])) or None


def address_of(name: str) -> str:
    """Return the address of a deployment. Raises: ImageLoopError where it is not deployed from here."""
    return status(name).deployments[0].url


def roll_back(name: str | None = None, reason: str = "") -> RollbackResult:
    """Give all traffic to the previous version, and make it the champion again. The `reason` is stored in the registry.

    `name`: of the deployment, also as namespace/name; by default what was deployed last from here.
    Raises: ImageLoopError where there is no previous version.
    """
    from seldon.delivery.rollouts import rollout_runner

    started = time.monotonic()
    deployed, cluster = _deployment(name)
    rollout = rollout_runner.roll_back(cluster, deployed.namespace, deployed.name)
    seconds = time.monotonic() - started
    logger.info("version %s has all traffic again, after %.1f s", rollout.before, seconds)
    from imageloop.lifecycle.rollback import note_rollback, record_noted_rollbacks

    before = registered_version(rollout.before) if rollout.before else None
    if rollout.version == before or len(versions_in(rollout.version)) > 1:  # it serves on, or their combination was at fault
        return RollbackResult(deployed.namespace, deployed.name, rollout.version, rollout.before, seconds)
    workspace = Workspace.current()
    note_rollback(
        rollout.model_name,
        rollout.version,
        rollout.before,
        f"rolled back by hand{f': {reason}' if reason else ''}; "
        f"python run.py approve {rollout.version} --model {rollout.model_name} --reason TEXT makes it champion again",
        workspace,
        registry=deployed.registry,
    )
    open_store()
    record_noted_rollbacks(workspace)
    return RollbackResult(deployed.namespace, deployed.name, rollout.version, rollout.before, seconds)


def down(*, keep: bool = False) -> StoppedDeployments:
    """Stop all deployments of this folder; on a shared cluster only the last one.

    `keep`: the deployment and its previous version can be resumed.
    Raises: DeploymentError, and stops nothing, while a rollout is under way: it would take the stop for a failure and undo it;
    SettingsError where the cluster does not support `keep`.
    """
    deployed, cluster = _last_deployment()
    manifests = cluster.belonging_to(deployed.namespace, deployed.name)
    with ExitStack() as locks:
        keys = [(one.metadata.namespace, one.metadata.name) for one in manifests] or [(deployed.namespace, deployed.name)]
        for namespace, name in keys:
            locks.enter_context(cluster.changing(namespace, name))
        cluster.stop(manifests, keep=keep)
    return StoppedDeployments(deployed.cluster.kind, [one.key for one in manifests], keep)


def _deployment(name: str | None) -> tuple[Deployed, Cluster]:
    """Return a deployment of the active stack's cluster, and the cluster. Named as namespace/name it may have been deployed from elsewhere."""
    if name is None or "/" not in name:
        deployed, cluster = _last_deployment()
        return (deployed if name is None else deployed.model_copy(update={"name": name})), cluster
    active = open_store().active_stack_model
    from imageloop.adapters.mlflow_tracking import connect
    from seldon.delivery.deployer.active_deployer import active_deployer

    namespace, _, name = name.partition("/")
    settings = active_deployer().config.cluster
    deployed = Deployed(
        cluster=settings, namespace=namespace, name=name, registry=connect(), stack=active.name, stack_id=str(active.id)
    )
    return deployed, open_cluster(settings, Workspace.current())


def _last_deployment() -> tuple[Deployed, Cluster]:
    """Return what the active stack deployed last from here, and its cluster.

    Raises: ImageLoopError where it deployed nothing, with the stack that deployed last instead.
    """
    workspace = Workspace.current()
    last = read_last(workspace)
    if last is None:
        raise ImageLoopError("nothing was ever deployed from here; run: python run.py deploy")
    deployed = read_deployed(workspace, active_stack_id())
    if deployed is None:  # the file may name the stack of another ZenML store, which works beside this checkout
        active = open_store().active_stack_model
        deployed = read_deployed(workspace, str(active.id))
        if deployed is None:
            raise ImageLoopError(
                f"the active stack '{active.name}' has deployed nothing from here, the stack '{last.stack}' has; "
                f"run: zenml stack set {last.stack}, or deploy with this one: python run.py deploy"
            )
    return deployed, open_cluster(deployed.cluster, workspace)


def _state_of(one: DeploymentStatus, rollouts: dict[str, OngoingRollout], running: dict[str, bool]) -> ServedDeployment:
    return ServedDeployment(
        namespace=one.namespace,
        name=one.name,
        state=one.state,
        description=one.description,
        url=one.url,
        notes=one.notes,
        rollout=rollouts.get(f"{one.namespace}/{one.name}"),
        rollout_is_running=running.get(f"{one.namespace}/{one.name}"),
        predictors=[_predictor_state(part) for part in one.predictors],
    )


def _predictor_state(part: PredictorStatus) -> ServedPredictor:
    return ServedPredictor(
        part.name, part.version, part.traffic, part.shadow, part.expected_replicas, part.ready_replicas, part.replicas
    )
