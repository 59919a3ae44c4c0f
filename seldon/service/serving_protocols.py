"""The protocols of a predictor: paths, health checks, and environment of its container."""

from collections.abc import Callable
from dataclasses import dataclass

PORT = 9000
V2_PORTS = {"MLSERVER_HTTP_PORT": PORT, "MLSERVER_GRPC_PORT": 9500, "MLSERVER_METRICS_PORT": 9002}
CLIENT_HEADER = "X-Client"  # who calls, by the name of the key: a gateway sets it, and lets no caller do so
ORIGINS_VARIABLE = "IMAGELOOP_ORIGINS"  # of pages elsewhere that may call, parted by spaces
SELDON_PREDICTIONS = ("/api/v1.0/predictions", "/api/v0.1/predictions")  # paths that Seldon's own clients use
SELDON_FEEDBACK = ("/api/v1.0/feedback", "/api/v0.1/feedback", "/send-feedback")
V2_MODELS, V2_INFER = "/v2/models/", "/v2/models/infer"  # the second for metrics: a path's model is whatever a caller writes
GRPC_SELDON, GRPC_INFERENCE = ("seldon.protos.Seldon", "seldon.protos.Model"), "inference.GRPCInferenceService"  # gRPC's services
GRPC_FEEDBACK = tuple(f"/{service}/SendFeedback" for service in GRPC_SELDON)
MODELS = "/mnt/models"  # where storage initializers put what modelUri names


@dataclass(frozen=True)
class Protocol:
    """One serving protocol. Paths are those of the container; `name` is the manifest's, None where it names none.

    `environment`: the container's variables for the model's name and version.
    """

    name: str | None
    ready_path: str
    live_path: str
    metrics_port: int
    keeps_records: bool
    environment: Callable[[str, str], dict[str, str]] = lambda _name, _version: {}


def mlserver_environment(model_name: str, version: str) -> dict[str, str]:
    """All that MLServer must know to serve the package at `MODELS`; it needs no file of its own there.

    Source: the settings of MLServer 1.7, which it also takes from the environment.
    """
    settings = {"MLSERVER_DEBUG": "false", "MLSERVER_PARALLEL_WORKERS": "0", "MLSERVER_METRICS_DIR": "/tmp"}  # noqa: S108 # nosec B108 - of the container
    model = {
        "MLSERVER_MODEL_NAME": model_name,
        "MLSERVER_MODEL_IMPLEMENTATION": "seldon.v2_runtime.ImageRuntime",
        "MLSERVER_MODEL_URI": MODELS,
        "MLSERVER_MODEL_VERSION": version,
    }
    return settings | {name: str(port) for name, port in V2_PORTS.items()} | model


SELDON = Protocol(None, "/health/status", "/health/ping", PORT, keeps_records=True)
V2 = Protocol(
    "v2", "/v2/health/ready", "/v2/health/live", V2_PORTS["MLSERVER_METRICS_PORT"], keeps_records=False, environment=mlserver_environment
)  # fmt: skip
