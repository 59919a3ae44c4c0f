"""Where a deployment is served: what the stack file says of the deployer's cluster."""

from typing import Annotated, Literal

from pydantic import Field

from imageloop.settings import Settings
from seldon.delivery.clusters.local.gateway_settings import GatewaySettings


class LocalSettings(Settings):
    """This machine: supervisord and Envoy."""

    kind: Literal["local"] = "local"
    folder: str | None = Field(None, description="state and logs; by default .imageloop/serving")
    gateway: GatewaySettings = GatewaySettings()


class PodSettings(Settings):
    """What the pods of a predictor are given. Secrets are named here; what is in them is the cluster's."""

    service_account: str = Field("imageloop-service", description="one that may ask the API server nothing")
    verification_secret: str = Field("imageloop-verification", description="with the key `signing.pub`")
    database_secret: str | None = Field(
        None, description="with the key `url`: records go to that PostgreSQL; by default they go with the pod"
    )
    storage_secret: str | None = Field(
        None,
        description="what Seldon's storage initializer (rclone) needs to fetch the package; by default what its operator names",
    )
    resources: dict[str, dict[str, str]] = Field(
        default_factory=lambda: {"requests": {"cpu": "1", "memory": "512Mi"}, "limits": {"memory": "1Gi"}},
        description="no limit on processors: one makes the slowest answers slower, and saves nothing",
    )
    workers: int = Field(
        2, ge=1, description="processes of each pod that answer; left alone it would start one a processor of its node"
    )
    max_replicas: int | None = Field(None, ge=1, description="more under load than `replicas` says; by default no more")
    cpu_percent: int = Field(70, ge=1, le=100, description="of the processors asked for, that autoscaling aims at")
    in_flight_per_replica: int | None = Field(
        None,
        ge=1,
        description="requests at work or waiting, that autoscaling aims at too; wants an adapter that serves the metric",
    )
    grace_seconds: int = Field(30, ge=1, description="to finish what was begun, once a pod is told to end")


class KubernetesSettings(Settings):
    """A cluster on which Seldon Core's operator runs."""

    kind: Literal["kubernetes"] = "kubernetes"
    context: str | None = Field(None, description="of the kubeconfig; by default the current one, in a pod its service account")
    gateway_url: str = Field("http://localhost:8004", description="where the ingress answers, as callers outside see it")
    predictor_url: str = Field(
        "http://{name}-{predictor}.{namespace}:9000", description="one predictor whatever its weight, from inside"
    )
    pods: PodSettings = PodSettings()
    request_timeout_seconds: float = Field(20.0, gt=0)
    ready_timeout_seconds: float = Field(600.0, gt=0, description="images are pulled and packages downloaded meanwhile")


ClusterSettings = Annotated[LocalSettings | KubernetesSettings, Field(discriminator="kind")]
