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
from imageloop.promotion.step_artifacts import RolloutRecord
from imageloop.workspace_paths import Workspace
from operations.resume_settings import settings_to_resume
from operations.training import SubmittedRun
from seldon.delivery.clusters.api_keys import read_keys
from seldon.delivery.clusters.open_cluster import open_cluster
from seldon.delivery.clusters.settings import ClusterSettings, KubernetesSettings, LocalSettings, missing_image
from seldon.delivery.deployer.active_deployer import active_cluster, active_deployer
from seldon.delivery.deployer.last_deployment import Deployed, read_deployed, read_last, write_deployed
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
        settings = settings_to_resume(deployer.cluster, deployer.config.cluster, last)
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
    """Raises: SettingsError where replicas could not start: pods without a container image, an environment that retains no images; and for
    what a cluster serves in another way.
    """
    if isinstance(cluster, LocalSettings):  # its replicas have this environment
        from imageloop.records.retained_images import ImageRetention

        ImageRetention.from_environment(str(Workspace.current().state), lambda: None)
    if not isinstance(cluster, KubernetesSettings):
        return
    if settings.image is None:
        raise missing_image()
    if settings.server is not None:
        raise SettingsError(
            "server: expected the local cluster, got kubernetes, where each model has pods of its own; unset server, and let the pods scale "
            "(pods.max_replicas)"
        )
    if settings.graph is not None:
        raise SettingsError(
            "graph: expected the local cluster, got kubernetes, where Seldon's executor answers for the versions, so a rollout cannot compare "
            "them; apply the manifest yourself: python run.py render --config FILE"
        )


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
