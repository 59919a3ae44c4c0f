"""A deployment as ZenML lists it: `zenml model-deployer models list`."""

from collections.abc import Generator
from typing import Any

from zenml.enums import ServiceState
from zenml.models.v2.misc.service import ServiceType
from zenml.services import BaseService, ServiceConfig
from zenml.services.service_status import ServiceStatus

from imageloop.workspace_paths import Workspace
from seldon.delivery.clusters.cluster_protocol import Cluster, DeploymentStatus
from seldon.delivery.clusters.open_cluster import open_cluster
from seldon.delivery.clusters.settings import ClusterSettings, LocalSettings

SERVICE_TYPE = ServiceType(
    type="model-serving",
    flavor="imageloop_seldon",
    name="SeldonDeployment",
    description="Images in, classes out, by Seldon Core's contract",
)
STATES = {"Available": ServiceState.ACTIVE, "Creating": ServiceState.PENDING_STARTUP, "Failed": ServiceState.ERROR}


class SeldonServiceConfig(ServiceConfig):
    """Names a deployment and its cluster."""

    namespace: str = "default"
    cluster: ClusterSettings = LocalSettings()


class SeldonService(BaseService):
    """ZenML's record of one SeldonDeployment; the cluster's state is authoritative."""

    SERVICE_TYPE = SERVICE_TYPE
    config: SeldonServiceConfig
    status: ServiceStatus = ServiceStatus()

    @property
    def deployment(self) -> DeploymentStatus | None:
        return self._cluster().describe(self.config.namespace, self.config.name)

    @property
    def prediction_url(self) -> str | None:
        """Return the address that takes Seldon's messages."""
        found = self.deployment
        return f"{found.url}/api/v1.0/predictions" if found else None

    def get_prediction_url(self) -> str | None:
        return self.prediction_url

    def get_healthcheck_url(self) -> str | None:
        found = self.deployment
        return f"{found.url}/health/status" if found else None

    def check_status(self) -> tuple[ServiceState, str]:
        found = self.deployment
        if found is None:
            return ServiceState.INACTIVE, "nothing is deployed"
        return STATES[found.state], found.description

    def get_logs(self, follow: bool = False, tail: int | None = None) -> Generator[str, bool, None]:
        """The last lines of each replica, where this machine has them."""
        del follow
        logs = getattr(self._cluster(), "logs", None)
        for file in sorted(logs().glob(f"{self.config.namespace}--{self.config.name}--*.log")) if logs else []:
            yield from file.read_text(errors="replace").splitlines()[-(tail or 50) :]

    def predict(self, request: Any) -> Any:
        """Send a Seldon message and return Seldon's response."""
        import requests

        response = requests.post(str(self.prediction_url), json=request, timeout=60)
        response.raise_for_status()
        return response.json()

    def _cluster(self) -> Cluster:
        return open_cluster(self.config.cluster, Workspace.current())
