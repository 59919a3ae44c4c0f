"""The settings with which `deploy --resume` deploys again what served before a stop or a restart."""

import logging

from imageloop.errors import SettingsError
from imageloop.model.served_versions import registered_version
from seldon.delivery.clusters.cluster_protocol import Cluster
from seldon.delivery.clusters.settings import ClusterSettings, LocalSettings
from seldon.delivery.deployer.last_deployment import Deployed
from seldon.delivery.inference_graph import settings_of
from seldon.delivery.manifest import PredictorSpec
from seldon.delivery.model_server_settings import server_of
from seldon.delivery.render_manifest import render_predictor
from seldon.delivery.rollouts.settings import DeploySettings

logger = logging.getLogger(__name__)


def settings_to_resume(cluster: Cluster, here: ClusterSettings, last: Deployed | None) -> DeploySettings:
    """The settings of the last deployment; the champion where there was none, or the registry no longer has that version.

    A newer champion may be one whose canary was interrupted: it takes over by a rollout of its own, not by a restart.

    Raises: SettingsError where it was deployed to another cluster than that of the active stack.
    """
    from seldon.delivery.rollouts.rollout_runner import settled

    if last is None:
        return DeploySettings()
    if _cluster_of(last.cluster) != _cluster_of(here):
        raise SettingsError(
            f"--resume: expected the stack whose cluster '{last.namespace}/{last.name}' was deployed to ({_cluster_of(last.cluster)}), "
            f"got the active stack with another cluster ({_cluster_of(here)}); run: zenml stack set NAME"
        )
    manifest = cluster.get(last.namespace, last.name)
    if manifest is None:
        logger.warning(
            "nothing of '%s/%s' was kept to be resumed (down --keep does); deploying the champion of the default model",
            last.namespace,
            last.name,
        )
        return DeploySettings()
    before = settled(manifest)
    served = before or manifest.spec.predictors[0]  # a first rollout that was cut off is carried out again
    environment = _given_environment(served, cluster, manifest.key)
    return _as_it_served(served, last, environment, refused_too=before is not None)


def _as_it_served(served: PredictorSpec, last: Deployed, environment: dict[str, str], *, refused_too: bool) -> DeploySettings:
    """The settings of a predictor that served; without its version where the registry no longer has that."""
    from imageloop.adapters.mlflow_registry import ModelRegistry, UnknownVersionError

    found = DeploySettings(
        namespace=last.namespace, name=last.name, model_name=served.model_name, replicas=served.replicas,
        image=served.container.image if served.container else None, environment=environment,
    )  # fmt: skip
    registry, version = ModelRegistry(served.model_name), registered_version(served.version)
    try:
        registry.get(version)
    except UnknownVersionError:
        logger.warning("version %s served here, and the registry no longer has it; deploying the champion", served.version)
        return found
    logger.info("resuming version %s, which served here", served.version)
    champion = registry.champion()
    if champion not in (None, version):
        logger.info(
            "version %s is the champion, and its rollout did not finish; run: python run.py deploy --model %s",
            champion,
            served.model_name,
        )
    return found.model_copy(
        update={
            "version": version,
            "graph": settings_of(served.graph),
            "server": server_of(served),
            "allow_refused_version": refused_too,
        }
    )


def _cluster_of(cluster: ClusterSettings) -> str:
    """A cluster by its identity: neither its version nor its address matters."""
    within = cluster.folder if isinstance(cluster, LocalSettings) else cluster.context
    return f"{cluster.kind} {within}" if within else cluster.kind


def _given_environment(served: PredictorSpec, cluster: Cluster, deployment: str) -> dict[str, str]:
    """The environment variables that were set for this deployment alone."""
    container = served.container
    if container is None:
        return {}
    usual = render_predictor(
        version=registered_version(served.version), model_name=served.model_name, model_uri="", replicas=1, image=container.image
    )
    completed = cluster.complete(usual, deployment).container
    known = completed.env if completed else ()
    return {variable.name: variable.value for variable in container.env if variable.value is not None and variable not in known}
