"""Where a deployment is served: what the stack file says of the deployer's cluster."""

from typing import Annotated, Literal

from pydantic import Field

from classifier.settings import Settings
from seldon.clusters.local.settings import GatewaySettings


class LocalSettings(Settings):
    """This machine: supervisord and Envoy."""

    kind: Literal["local"] = "local"
    folder: str | None = Field(None, description="state and logs; by default .imageloop/serving")
    gateway: GatewaySettings = GatewaySettings()


class KubernetesSettings(Settings):
    """A cluster on which Seldon Core's operator runs."""

    kind: Literal["kubernetes"] = "kubernetes"
    context: str | None = Field(None, description="of the kubeconfig; by default the current one, in a pod its service account")
    gateway_url: str = Field("http://localhost:8004", description="where the ingress answers, as callers outside see it")
    predictor_url: str = Field(
        "http://{name}-{predictor}.{namespace}:8000", description="one predictor whatever its weight, from inside"
    )
    request_timeout_seconds: float = Field(20.0, gt=0)
    ready_timeout_seconds: float = Field(600.0, gt=0, description="images are pulled and packages downloaded meanwhile")


ClusterSettings = Annotated[LocalSettings | KubernetesSettings, Field(discriminator="kind")]
