"""The model deployer of ZenML's stack: it applies SeldonDeployments to its cluster, and records in ZenML what is served."""

from collections.abc import Callable
from typing import Any, ClassVar, cast
from uuid import UUID

from zenml.client import Client
from zenml.enums import ServiceState
from zenml.model_deployers.base_model_deployer import BaseModelDeployer, BaseModelDeployerFlavor
from zenml.services import BaseService, ServiceConfig

from imageloop.workspace_paths import Workspace
from seldon.delivery.clusters.cluster_protocol import Cluster, DeploymentError
from seldon.delivery.clusters.open_cluster import open_cluster
from seldon.delivery.deployer.flavor import FLAVOR, SeldonDeployerConfig, SeldonDeployerFlavor
from seldon.delivery.deployer.zenml_service import SERVICE_TYPE, SeldonService, SeldonServiceConfig
from seldon.delivery.manifest import PredictorSpec
from seldon.delivery.rollouts.candidate_package import CandidatePackage
from seldon.delivery.rollouts.rollout_run import Rollout
from seldon.delivery.rollouts.rollout_runner import roll_out
from seldon.delivery.rollouts.rollout_verdicts import Verdict
from seldon.delivery.rollouts.settings import DeploySettings


class SeldonDeployer(BaseModelDeployer):
    """`roll_out` is the way in; ZenML's own verbs work on what it made."""

    NAME: ClassVar[str] = FLAVOR
    FLAVOR: ClassVar[type[BaseModelDeployerFlavor]] = SeldonDeployerFlavor

    @property
    def config(self) -> SeldonDeployerConfig:
        return cast("SeldonDeployerConfig", self._config)

    @property
    def cluster(self) -> Cluster:
        return open_cluster(self.config.cluster, Workspace.current())

    def roll_out(
        self,
        settings: DeploySettings,
        candidate: PredictorSpec,
        report: Callable[[str, Verdict], None],
        package: CandidatePackage | None = None,
        pipeline_name: str = "",
        step_name: str = "",
    ) -> Rollout:
        """Roll `candidate` out as the settings say, and record it in ZenML.

        Raises: RolloutStoppedError when it was undone.
        """
        cluster = self.cluster
        completed = cluster.complete(candidate, f"{settings.namespace}/{settings.name}")
        rollout = roll_out(cluster, settings, completed, report, package)
        serving = rollout.version if rollout.outcome in ("promoted", "unchanged") else rollout.before
        config = SeldonServiceConfig(
            name=settings.name,
            namespace=settings.namespace,
            cluster=self.config.cluster,
            model_name=settings.model_name,
            model_version=str(serving),
            service_name=f"{settings.namespace}-{settings.name}",
            pipeline_name=pipeline_name,
            pipeline_step_name=step_name,
        )
        self._register_with_zenml(config)
        return rollout

    def deploy_model(
        self,
        config: ServiceConfig,
        service_type: Any = SERVICE_TYPE,
        replace: bool = False,
        continuous_deployment_mode: bool = False,
        timeout: int = 300,
    ) -> BaseService:
        """ZenML's own way deletes the old server first; ours is a rollout."""
        raise DeploymentError("expected a rollout, got a plain deploy_model; run: python run.py deploy")

    def perform_deploy_model(self, id: UUID, config: ServiceConfig, timeout: int = 300) -> BaseService:
        """Is not used: see `deploy_model`."""
        raise DeploymentError("expected a rollout, got a plain deploy_model; run: python run.py deploy")

    def perform_stop_model(self, service: BaseService, timeout: int = 300, force: bool = False) -> BaseService:
        """A SeldonDeployment is there or is not: stopping is deleting."""
        self.perform_delete_model(service, timeout, force)
        service.admin_state = ServiceState.INACTIVE
        service.update_status()
        return service

    def perform_start_model(self, service: BaseService, timeout: int = 300) -> BaseService:
        raise DeploymentError("expected a deployment to start, got only its record; run: python run.py deploy")

    def perform_delete_model(self, service: BaseService, timeout: int = 300, force: bool = False) -> None:
        config = cast("SeldonServiceConfig", service.config)
        self.cluster.delete(config.namespace, config.name)

    @staticmethod
    def get_model_server_info(service: BaseService) -> dict[str, str | None]:
        """Return what `zenml model-deployer models describe` shows."""
        found = cast("SeldonService", service).deployment
        if found is None:
            return {"DEPLOYMENT": "nothing is deployed"}
        shares = ", ".join(f"{part.name} {part.traffic} %" for part in found.predictors)
        return {
            "PREDICTION_URL": f"{found.url}/api/v1.0/predictions",
            "STATE": found.state,
            "TRAFFIC": shares,
            "PAGE": f"{found.url}/",
        }

    def _register_with_zenml(self, config: SeldonServiceConfig) -> None:
        """Return the ZenML record of a deployment, created or updated."""
        client = Client()
        known = [
            one
            for one in client.list_services(service_name=config.service_name, hydrate=True).items
            if one.config.get("namespace") == config.namespace
        ]
        for service in known:
            client.delete_service(service.id)
        made = client.create_service(config=config, service_type=SERVICE_TYPE)
        service = SeldonService(uuid=made.id, config=config, admin_state=ServiceState.ACTIVE)
        service.update_status()
        client.update_service(
            id=made.id,
            name=config.service_name,
            service_source=service.model_dump().get("type"),
            admin_state=service.admin_state,
            status=service.status.model_dump(),
            prediction_url=service.get_prediction_url(),
            health_check_url=service.get_healthcheck_url(),
        )
