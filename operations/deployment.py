"""Serve a version, say how it goes, go back, stop."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import requests

from imageloop.adapters.endpoint_evaluation import lies_elsewhere
from imageloop.adapters.zenml_client import check_parts, finished_run, open_stack, open_store, runs_elsewhere
from imageloop.errors import ImageLoopError, SettingsError
from imageloop.workspace_paths import Workspace
from seldon.delivery.clusters.cluster_protocol import Cluster, DeploymentStatus
from seldon.delivery.clusters.local.gateway_settings import read_keys
from seldon.delivery.clusters.open_cluster import open_cluster
from seldon.delivery.clusters.settings import ClusterSettings, LocalSettings
from seldon.delivery.deployer.last_deployment import Deployed, read_deployed, write_deployed
from seldon.delivery.manifest import PredictorSpec, render_predictor
from seldon.delivery.rollouts.settings import DeploySettings

logger = logging.getLogger(__name__)


def deploy(settings: DeploySettings, *, resume: bool = False) -> dict[str, Any]:
    """Run the deployment pipeline on the active stack; to `resume` is to bring back what this folder served, whatever `settings` say.

    Raises: ImageLoopError with the reason when the version was rolled back.
    """
    started = time.monotonic()
    client = open_stack()
    if settings.afterwards.data is not None:
        _check_labelled(settings.afterwards.data, on_this_machine=not runs_elsewhere(client))
    check_parts(client)
    from zenml import Model

    from imageloop.adapters.mlflow_tracking import connect
    from pipelines.deployment import deployment
    from seldon.delivery.deployer.active_deployer import active_deployer

    deployer = active_deployer()
    if resume:
        settings = _as_it_served(deployer.cluster, deployer.config.cluster, read_deployed(Workspace.current()))
    place = Deployed(
        cluster=deployer.config.cluster,
        namespace=settings.namespace,
        name=settings.name,
        registry=connect(),
    )
    with _remembered(place):
        run = deployment.with_options(model=Model(name=settings.model_name))(settings)
        if run is None:
            return {"stack": client.active_stack_model.name, "submitted": True}
        steps = finished_run(client, run.id).steps
    record = steps["roll_out"].outputs["rollout"][0].load()
    result: dict[str, Any] = record.model_dump()
    return result | {
        "stack": client.active_stack_model.name,
        "run": run.name,
        "tried": _try_one(record.url, steps["select"].outputs["candidate"][0].load().uri),
        "seconds": time.monotonic() - started,
    }


def _as_it_served(cluster: Cluster, here: ClusterSettings, last: Deployed | None) -> DeploySettings:
    """What was deployed last, with all that it was given then; the champion where nothing was, or the registry knows that version no more.

    A newer champion may be one whose canary was cut off: it takes over by a rollout of its own, not by a restart.

    Raises: SettingsError where it was deployed to another cluster than that of the active stack.
    """
    from imageloop.adapters.mlflow_registry import ModelRegistry, UnknownVersionError
    from seldon.delivery.rollouts.rollout_runner import settled

    if last is None:
        return DeploySettings()
    if _place_of(last.cluster) != _place_of(here):
        raise SettingsError(
            f"--resume: wanted the stack whose cluster '{last.namespace}/{last.name}' was deployed to ({_place_of(last.cluster)}), "
            f"found the active one's to be another ({_place_of(here)}); zenml stack set NAME"
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
    registry = ModelRegistry(served.model_name)
    try:
        registry.get(served.version)
    except UnknownVersionError:
        logger.warning("version %s served here, and the registry knows it no more; the champion takes its place", served.version)
        return found
    logger.info("version %s served here, and is brought back", served.version)
    champion = registry.champion()
    if champion not in (None, served.version):
        logger.info("version %s is the champion, and was not rolled out to its end; python run.py deploy does that", champion)
    return found.model_copy(update={"version": served.version, "keep_refused_version": before is not None})


def _place_of(cluster: ClusterSettings) -> str:
    """In which no version of it matters, nor how it is reached."""
    within = cluster.folder if isinstance(cluster, LocalSettings) else cluster.context
    return f"{cluster.kind} {within}" if within else cluster.kind


def _given_environment(served: PredictorSpec, cluster: Cluster) -> dict[str, str]:
    """What its container was told beyond what every one is told."""
    container = served.container
    if container is None:
        return {}
    usual = render_predictor(
        version=served.version, model_name=served.model_name, model_uri="", replicas=1, image=container.image
    )
    completed = cluster.complete(usual).container
    known = completed.env if completed else ()
    return {variable.name: variable.value for variable in container.env if variable.value is not None and variable not in known}


@contextmanager
def _remembered(place: Deployed) -> Iterator[None]:
    """From the start, for whoever looks after a kill in the middle; a failure that left nothing there brings the place of before back."""
    workspace = Workspace.current()
    before = read_deployed(workspace)
    write_deployed(workspace, place)
    try:
        yield
    except BaseException:
        if before is not None and before != place and not _serves(place):
            write_deployed(workspace, before)
        raise


def _serves(place: Deployed) -> bool:
    """Also where that cannot be told: what may be left there must not be forgotten."""
    try:
        return open_cluster(place.cluster, Workspace.current()).get(place.namespace, place.name) is not None
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
            f"afterwards.data: wanted labelled pictures that the cluster can read, found '{address}' of this machine; name a bucket's folder "
            "(s3://bucket/labelled), or ask from here once it serves: python run.py evaluate --url URL --data DIR"
        )
    if not Path(address).is_dir():
        raise SettingsError(f"afterwards.data: wanted a folder of labelled pictures, found none at '{address}'")


def _try_one(url: str, package_uri: str) -> dict[str, Any] | None:
    """A known picture through the gateway, as a caller's would go; None where it did not come through: traffic has moved all the same."""
    from imageloop.model.smoke_test_images import read_examples

    examples = read_examples(Path(package_uri.removeprefix("file://"))) if package_uri.startswith("file://") else []
    if not examples:
        return None
    key = next((key.key for key in read_keys() if "predict" in key.rights), "")
    headers = {"Content-Type": "image/png", "X-API-Key": key}
    try:
        answer = requests.post(f"{url}/predict", examples[0].content, headers=headers, timeout=30)
        answer.raise_for_status()
    except requests.RequestException as error:
        logger.warning("a known picture did not come through the gateway: %s", error)
        return None
    return {"wanted": examples[0].label, **answer.json()}


def describe_deployment(result: dict[str, Any]) -> str:
    """What came of it, and where to go on."""
    if result.get("submitted"):
        return f"the rollout was handed to the stack '{result['stack']}'; its dashboard shows the rest"
    url = result["url"]
    python = Path(sys.executable)
    python = python.relative_to(Path.cwd()) if python.is_relative_to(Path.cwd()) else python
    lines = [
        "",
        f"deployment     {result['namespace']}/{result['name']}: version {result['version']} {result['outcome']}"
        + (f" ({result['reason']})" if result["reason"] else ""),
        *(f"               {line}" for line in result["smoke"] + result["verdicts"]),
        f"page           {url}/",
        f"API            {url}/api/v1.0/predictions, {url}/predict",
        f"its docs       {url}/docs",
        f"metrics        {url}/metrics",
        f"seconds        {result['seconds']:.1f}",
    ]
    if result["tried"]:
        tried = result["tried"]
        lines.append(
            f"through it     a picture of '{tried['wanted']}': {tried['label']} ({tried['probability']:.1%}) in {tried['milliseconds']} ms"
        )
    return "\n".join([*lines, "", "next:", f"  {python} run.py status", f"  {python} run.py down"])


def status() -> dict[str, Any]:
    """What is served where this folder deployed last."""
    deployed, cluster = _deployed()
    ours = cluster.belonging_to(deployed.namespace, deployed.name)
    found = [cluster.describe(one.metadata.namespace, one.metadata.name) for one in ours]
    rollouts = {one.key: one.rollout for one in ours if one.rollout}
    return {
        "cluster": deployed.cluster.kind,
        "deployments": [_plain(one, rollouts) for one in found if one is not None],
        "metrics": getattr(cluster, "metrics_addresses", list)(),
    }


def describe_status(result: dict[str, Any]) -> str:
    if not result["deployments"]:
        return "nothing is deployed; python run.py deploy serves the champion"
    lines = []
    for one in result["deployments"]:
        lines.append(
            f"{one['namespace']}/{one['name']}  {one['state']}  {one['url']}/"
            + (f"  ({one['description']})" if one["description"] else "")
        )
        for part in one["predictors"]:
            share = "shadow" if part["shadow"] else f"{part['traffic']} %"
            lines.append(
                f"  {part['name']:<8} version {part['version']:<4} {share:>7}  {part['ready']} of {part['wanted']} replicas ready"
            )
            lines += [
                f"    {replica['address']}  {'ready' if replica['ready'] else 'not ready'}, started again {replica['restarts']} times"
                for replica in part["replicas"]
            ]
        if one["rollout"]:
            lines.append(
                f"  a rollout from {one['rollout']['from']} to {one['rollout']['to']} is going on, or was interrupted; deploy and rollback undo it then"
            )
        lines += [f"  {note}" for note in one["notes"]]
    return "\n".join([*lines, "metrics", *(f"  {address}" for address in result["metrics"])])


def roll_back() -> dict[str, Any]:
    """All traffic to the version before; the registry's champion follows it."""
    from seldon.delivery.rollouts.rollout_runner import roll_back as back

    started = time.monotonic()
    deployed, cluster = _deployed()
    rollout = back(cluster, deployed.namespace, deployed.name)
    seconds = time.monotonic() - started
    logger.info("version %s has all traffic again, after %.1f s", rollout.before, seconds)
    from imageloop.lifecycle.rollback import note_rollback, tell_of_rollbacks

    workspace = Workspace.current()
    note_rollback(
        rollout.model_name, rollout.version, rollout.before, "rolled back by hand", workspace, registry=deployed.registry
    )
    open_store()
    tell_of_rollbacks(workspace)
    return {
        "namespace": deployed.namespace,
        "name": deployed.name,
        "from": rollout.version,
        "to": rollout.before,
        "seconds": seconds,
    }


def describe_rollback(result: dict[str, Any]) -> str:
    return f"version {result['to']} serves again in place of {result['from']}, after {result['seconds']:.1f} s"


def down(*, keep: bool = False) -> dict[str, Any]:
    """Stop all that is served from this folder; on a cluster, which others use too, the deployment that was made from here last.

    `keep`: what was deployed, and what served before it, stay known, for `deploy` to resume.

    Raises: DeploymentError, and stops nothing, while a rollout is at work: it would take what is gone for a failure and undo it;
    SettingsError where `keep` is asked of a cluster, which stops nothing that it keeps.
    """
    deployed, cluster = _deployed()
    stop = getattr(cluster, "stop", None)  # of a cluster that is this folder's alone
    if keep and stop is None:
        raise SettingsError(f"--keep: wanted a deployment on this machine, found one on a cluster ({deployed.cluster.kind})")
    found = cluster.belonging_to(deployed.namespace, deployed.name)
    with ExitStack() as nobody_else:
        for one in found:
            nobody_else.enter_context(cluster.changing(one.metadata.namespace, one.metadata.name))
        if stop is not None:
            stop(keep=keep)
        else:
            for one in found:
                cluster.delete(one.metadata.namespace, one.metadata.name)
    return {"cluster": deployed.cluster.kind, "stopped": [one.key for one in found], "kept": keep}


def describe_down(result: dict[str, Any]) -> str:
    again = "; python run.py deploy --resume brings it back" if result["kept"] and result["stopped"] else ""
    return f"stopped {', '.join(result['stopped']) or 'nothing, for nothing was deployed'}{again}"


def _deployed() -> tuple[Deployed, Cluster]:
    deployed = read_deployed(Workspace.current())
    if deployed is None:
        raise ImageLoopError("wanted a deployment, found that nothing was ever deployed from here; run: python run.py deploy")
    return deployed, open_cluster(deployed.cluster, Workspace.current())


def _plain(one: DeploymentStatus, rollouts: dict[str, Any]) -> dict[str, Any]:
    return {
        "namespace": one.namespace,
        "name": one.name,
        "state": one.state,
        "description": one.description,
        "url": one.url,
        "notes": one.notes,
        "rollout": rollouts.get(f"{one.namespace}/{one.name}"),
        "predictors": [
            {
                "name": part.name,
                "version": part.version,
                "traffic": part.traffic,
                "shadow": part.shadow,
                "wanted": part.wanted_replicas,
                "ready": part.ready_replicas,
                "replicas": [vars(replica) for replica in part.replicas],
            }
            for part in one.predictors
        ],
    }
