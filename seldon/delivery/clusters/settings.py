"""Settings of the deployer's cluster in a stack file."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from imageloop.errors import SettingsError
from imageloop.settings import Settings
from seldon.delivery.clusters.local.gateway_settings import GatewaySettings


class LocalSettings(Settings):
    """Deploys to this machine, with supervisord and Envoy."""

    kind: Literal["local"] = "local"
    folder: str | None = Field(None, description="state and logs; by default .imageloop/serving")
    gateway: GatewaySettings = GatewaySettings()


class PodSettings(Settings):
    """Settings of a predictor's pods. They name secrets, which the cluster holds."""

    service_account: str = Field("imageloop-service", description="a service account without permissions at the API server")
    verification_secret: str = Field("imageloop-verification", description="the secret with the key `signing.pub`")
    database_secret: str | None = Field(
        None,
        description="the secret with the key `url` of a PostgreSQL for the records; by default records are lost with the pod",
    )
    storage_secret: str | None = Field(
        None,
        description="the secret with which Seldon's storage initializer (rclone) fetches the package; by default that of its operator",
    )
    resources: dict[str, dict[str, str]] = Field(
        default_factory=lambda: {"requests": {"cpu": "1", "memory": "512Mi"}, "limits": {"memory": "1Gi"}},
        description="no CPU limit: throttling slows the slowest responses down, and saves nothing",
    )
    gpus: int = Field(
        0,
        ge=0,
        description="GPUs of NVIDIA's that each pod asks for (`nvidia.com/gpu`), with the image of `--build-arg ACCELERATOR=gpu`",
    )
    workers: int = Field(1, ge=1, description="worker processes of each pod, each with a copy of the model")
    compute_threads: int = Field(
        2,
        ge=1,
        description="images that each worker computes at once, a processor each; without it as many as the node has processors",
    )
    max_replicas: int | None = Field(
        8, ge=1, description="the upper bound of autoscaling on CPU, from the deployment's replicas on; null: no autoscaling"
    )
    cpu_percent: int = Field(70, ge=1, le=100, description="CPU utilization that autoscaling aims at, in percent of the request")
    in_flight_per_replica: int | None = Field(
        None,
        ge=1,
        description="running and queued requests that autoscaling aims at too; needs a metrics adapter, or KEDA (`pods.prometheus`)",
    )
    prometheus: str | None = Field(
        None,
        pattern=r"^https?://",
        description="address of Prometheus within the cluster: KEDA scales by it and by CPU in the place of an HPA; by default on twice as many requests as "
        "compute threads",
    )
    grace_seconds: int = Field(30, ge=1, description="time for a terminating pod to finish its requests")
    drain_seconds: int = Field(
        5,
        ge=0,
        description="of it: for so long a terminating pod is not ready and still serves, until all of the cluster send elsewhere",
    )


def missing_image() -> SettingsError:
    """The error of a deployment to pods that names no container image."""
    return SettingsError(
        "image: expected a container image of the service, got none; set IMAGELOOP_SERVING_IMAGE=REGISTRY/imageloop-serve@sha256:... and run "
        "stacks/apply.py, or name it for this deployment: --set image=..."
    )


class KubernetesSettings(Settings):
    """A cluster on which Seldon Core's operator runs."""

    kind: Literal["kubernetes"] = "kubernetes"
    context: str | None = Field(
        None, description="context of the kubeconfig; by default the current one, in a pod its service account"
    )
    gateway_url: str = Field("http://localhost:8004", description="address of the ingress, as callers outside see it")
    namespace: str = Field("default", description="namespace of deployments whose own setting is `default`")
    image: str | None = Field(None, description="container image of the service, by digest, of deployments that name none")
    predictor_url: str = Field(
        "http://{name}-{predictor}.{namespace}:9000", description="address of a single predictor inside the cluster"
    )
    pods: PodSettings = PodSettings()
    request_timeout_seconds: float = Field(20.0, gt=0)
    ready_timeout_seconds: float = Field(600.0, gt=0, description="includes pulling images and downloading packages")

    @field_validator("image")
    @classmethod
    def _none_where_empty(cls, image: str | None) -> str | None:
        return image or None  # a variable of the stack file that is not set


ClusterSettings = Annotated[LocalSettings | KubernetesSettings, Field(discriminator="kind")]
