"""The ZenML flavor `imageloop_seldon`. Imports nothing heavy: ZenML loads flavors to show them."""

from typing import TYPE_CHECKING

from zenml.model_deployers.base_model_deployer import BaseModelDeployerConfig, BaseModelDeployerFlavor

from seldon.delivery.clusters.settings import ClusterSettings, LocalSettings

if TYPE_CHECKING:
    from seldon.delivery.deployer.deployer import SeldonDeployer

FLAVOR = "imageloop_seldon"


class SeldonDeployerConfig(BaseModelDeployerConfig):
    """`cluster`: where the SeldonDeployment is handed to."""

    cluster: ClusterSettings = LocalSettings()

    @property
    def is_local(self) -> bool:
        """Whether other machines can reach what it serves; ZenML refuses to mix local and remote parts by it."""
        return isinstance(self.cluster, LocalSettings)


class SeldonDeployerFlavor(BaseModelDeployerFlavor):
    """A SeldonDeployment, on this machine or on Kubernetes."""

    @property
    def name(self) -> str:
        return FLAVOR

    @property
    def config_class(self) -> type[SeldonDeployerConfig]:
        return SeldonDeployerConfig

    @property
    def implementation_class(self) -> "type[SeldonDeployer]":
        from seldon.delivery.deployer.deployer import SeldonDeployer

        return SeldonDeployer
