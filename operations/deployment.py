"""Deploy a version on the active stack, or resume what was deployed before."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from pydantic import BaseModel, ConfigDict

from imageloop.adapters.endpoint_evaluation import lies_elsewhere
from imageloop.adapters.zenml_client import check_parts, finished_run, open_stack, runs_elsewhere
from imageloop.adapters.zenml_runs import named_run
from imageloop.errors import ImageLoopError, SettingsError
from imageloop.model.served_versions import registered_version
from imageloop.promotion.step_artifacts import RolloutRecord
from imageloop.workspace_paths import Workspace
from operations.training import SubmittedRun
from seldon.delivery.clusters.api_keys import read_keys
from seldon.delivery.clusters.cluster_protocol import Cluster
from seldon.delivery.clusters.open_cluster import open_cluster
from seldon.delivery.clusters.settings import ClusterSettings, KubernetesSettings, LocalSettings, missing_image
from seldon.delivery.deployer.active_deployer import active_cluster, active_deployer
from seldon.delivery.deployer.last_deployment import Deployed, read_deployed, read_last, write_deployed
from seldon.delivery.inference_graph import settings_of
from seldon.delivery.manifest import PredictorSpec
from seldon.delivery.render_manifest import render_predictor
from seldon.delivery.rollouts.settings import DeploySettings

logger = logging.getLogger(__name__)


class ServedSample(BaseModel):
    """A smoke-test image that went through the gateway, and its prediction. Units: `probability` in [0, 1]."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    expected: str
    label: str
    probability: float
    milliseconds: float


class DeploymentResult(RolloutRecord):
    """The result of a deployment. `tried` is None where no smoke-test image got through the gateway."""

    stack: str
    run: str
    tried: ServedSample | None
    seconds: float


def deploy(settings: DeploySettings, *, resume: bool = False) -> DeploymentResult | SubmittedRun:
    """Run the deployment pipeline on the active stack. `resume`: deploy what this folder deployed last, and ignore `settings`.

    Raises: ImageLoopError with the reason when the version was rolled back.
    """
    started = time.monotonic()
    client = open_stack()
    if settings.afterwards.data is not None:
        _check_labelled(settings.afterwards.data, on_this_machine=not runs_elsewhere(client))
    check_parts(client)
    from zenml import Model

    from imageloop.adapters.mlflow_tracking import connect
    from imageloop.lifecycle.choose_version import find_candidate
    from pipelines.deployment import deployment

    deployer, stack, stack_id = active_deployer(), client.active_stack_model.name, str(client.active_stack_model.id)
    if resume:
        last = read_deployed(Workspace.current(), stack_id) or read_last(Workspace.current())
        settings = _settings_to_resume(deployer.cluster, deployer.config.cluster, last)
    settings = settings.on(deployer.config.cluster)
    _check_replicas(settings, deployer.config.cluster)
    asked = (settings.version, *(settings.graph.with_versions if settings.graph else ()))
    versions = [find_candidate(settings.model_name, one, also_refused=settings.allow_refused_version).version for one in asked]
    if len(set(versions)) < len(versions):
        raise SettingsError(f"graph.with_versions: expected versions that differ, got {', '.join(versions)}; name others")
    deployed = Deployed(
        cluster=deployer.config.cluster, namespace=settings.namespace, name=settings.name, registry=connect(), stack=stack,
        stack_id=stack_id,
    )  # fmt: skip
    with _remembered(deployed), named_run(client, "deployment", settings.name, Workspace.current()) as run_name:
        run = deployment.with_options(model=Model(name=settings.model_name), run_name=run_name)(settings)
        if run is None:
            return SubmittedRun(stack)
        steps = finished_run(client, run.id).steps
    record = steps["roll_out"].outputs["rollout"][0].load()
    tried = _predict_sample(record.url, steps["select"].outputs["candidate"][0].load().uri)
    return DeploymentResult(**record.model_dump(), stack=stack, run=run.name, tried=tried, seconds=time.monotonic() - started)


def check_deployable(settings: DeploySettings) -> None:
    """Check what a deployment on the active stack needs, before a training that would precede it.

    Raises: SettingsError where a cluster's pods would have no container image.
    """
    open_stack()
    cluster = active_cluster()
    _check_replicas(settings.on(cluster), cluster)


def _check_replicas(settings: DeploySettings, cluster: ClusterSettings) -> None:
    """Raises: SettingsError where replicas could not start: pods without a container image, an environment that retains no images."""
    if isinstance(cluster, LocalSettings):  # its replicas have this environment
        from imageloop.records.retained_images import ImageRetention

        ImageRetention.from_environment(str(Workspace.current().state), lambda: None)
    if isinstance(cluster, KubernetesSettings) and settings.image is None:
        raise missing_image()


def _settings_to_resume(cluster: Cluster, here: ClusterSettings, last: Deployed | None) -> DeploySettings:
    """The settings of the last deployment; the champion where there was none, or the registry no longer has that version.

    A newer champion may be one whose canary was interrupted: it takes over by a rollout of its own, not by a restart.

    Raises: SettingsError where it was deployed to another cluster than that of the active stack.
    """
    from imageloop.adapters.mlflow_registry import ModelRegistry, UnknownVersionError
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
        return DeploySettings()
    before = settled(manifest)
    served = before or manifest.spec.predictors[0]  # a first rollout that was cut off is carried out again
    found = DeploySettings(
        namespace=last.namespace, name=last.name, model_name=served.model_name, replicas=served.replicas,
        image=served.container.image if served.container else None, environment=_given_environment(served, cluster),
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
        update={"version": version, "graph": settings_of(served.graph), "allow_refused_version": before is not None}
    )


def _cluster_of(cluster: ClusterSettings) -> str:
    """A cluster by its identity: neither its version nor its address matters."""
    within = cluster.folder if isinstance(cluster, LocalSettings) else cluster.context
    return f"{cluster.kind} {within}" if within else cluster.kind


def _given_environment(served: PredictorSpec, cluster: Cluster) -> dict[str, str]:
    """The environment variables that were set for this deployment alone."""
    container = served.container
    if container is None:
        return {}
    usual = render_predictor(
        version=registered_version(served.version), model_name=served.model_name, model_uri="", replicas=1, image=container.image
    )
    completed = cluster.complete(usual).container
    known = completed.env if completed else ()
    return {variable.name: variable.value for variable in container.env if variable.value is not None and variable not in known}


@contextmanager
def _remembered(deployed: Deployed) -> Iterator[None]:
    """Record the deployment before it starts, for a kill in the middle; restore the old record if nothing was deployed."""
    workspace = Workspace.current()
    before = read_last(workspace)
    write_deployed(workspace, deployed)
    try:
        yield
    except BaseException:
        if before is not None and before != deployed and not _serves(deployed):
            write_deployed(workspace, before)
        raise


def _serves(deployed: Deployed) -> bool:
    """True also where the cluster cannot be reached: what may still serve must not be forgotten."""
    try:
        return open_cluster(deployed.cluster, Workspace.current()).get(deployed.namespace, deployed.name) is not None
    except ImageLoopError:
        return True


def _check_labelled(address: str, *, on_this_machine: bool) -> None:
    """Before the rollout, not after it.

    Raises: SettingsError for a folder that the step will not find.
    """
    if lies_elsewhere(address):
        return
    if not on_this_machine:
        raise SettingsError(
            f"afterwards.data: expected labelled images that the cluster can read, got '{address}' of this machine; name a bucket's folder "
            "(s3://bucket/labelled), or measure it from here once it serves: python run.py evaluate --url URL --data DIR"
        )
    if not Path(address).is_dir():
        raise SettingsError(f"afterwards.data: expected a folder of labelled images, got none at '{address}'")


def _predict_sample(url: str, package_uri: str) -> ServedSample | None:
    """Send a smoke-test image through the gateway, as a caller would; None where that failed: the traffic has moved all the same."""
    from imageloop.model.smoke_test_images import read_examples

    examples = read_examples(Path(package_uri.removeprefix("file://"))) if package_uri.startswith("file://") else []
    if not examples:
        return None
    key = next((key.key for key in read_keys() if "predict" in key.scopes), "")
    headers = {"Content-Type": "image/png", "X-API-Key": key}
    try:
        response = requests.post(f"{url}/predict", examples[0].content, headers=headers, timeout=30)
        response.raise_for_status()
    except requests.RequestException as error:
        logger.warning("a smoke-test image did not get through the gateway: %s", error)
        return None
    return ServedSample(expected=examples[0].label, **response.json())
