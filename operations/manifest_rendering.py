"""Render the manifest of a version for those who apply it themselves: by Git, by hand, or to another server."""

from typing import Any, Literal

from imageloop.adapters.zenml_client import open_store
from imageloop.lifecycle.choose_version import choose_candidate
from seldon.delivery.clusters.kubernetes.pods import complete
from seldon.delivery.clusters.settings import KubernetesSettings, PodSettings, missing_image
from seldon.delivery.deployer.active_deployer import active_cluster
from seldon.delivery.kserve import inference_service
from seldon.delivery.manifest import dump
from seldon.delivery.render_candidate import render_candidate
from seldon.delivery.render_manifest import render
from seldon.delivery.rollouts.settings import DeploySettings
from seldon.service.serving_protocols import SELDON, V2

Kind = Literal["seldon", "seldon-v2", "kserve"]


def rendered(settings: DeploySettings, kind: Kind) -> dict[str, Any]:
    """A SeldonDeployment of Seldon's protocol or of V2, or KServe's InferenceService, with all traffic for one version.

    Raises: SettingsError without an image; ImageLoopError where there is no version that may serve.
    """
    open_store()
    cluster = active_cluster()
    settings = settings.on(cluster)
    if settings.image is None:
        raise missing_image()
    chosen = choose_candidate(settings.model_name, settings.version, also_refused=settings.allow_refused_version)
    protocol = SELDON if kind == "seldon" else V2
    predictor = render_candidate(chosen, settings, protocol).model_copy(update={"traffic": 100})
    pods = cluster.pods if isinstance(cluster, KubernetesSettings) else PodSettings()
    # KServe scales by itself
    deployment = f"{settings.namespace}/{settings.name}" if kind != "kserve" else ""
    whole = complete(predictor, pods, protocol, deployment)
    if kind == "kserve":
        return inference_service(settings.name, settings.namespace, whole)
    return dump(render(settings.name, settings.namespace, [whole], protocol))
