"""The deployer of the active stack."""

from typing import TYPE_CHECKING

from imageloop.errors import SettingsError

if TYPE_CHECKING:
    from seldon.delivery.clusters.settings import ClusterSettings
    from seldon.delivery.deployer.deployer import SeldonDeployer


def active_cluster() -> "ClusterSettings":
    """The settings of the cluster on which the active stack deploys.

    Raises: SettingsError where the active stack has no deployer of ours.
    """
    cluster: ClusterSettings = active_deployer().config.cluster
    return cluster


def active_deployer() -> "SeldonDeployer":
    """Made alone: with the whole stack MLflow would be loaded too, for two seconds.

    Raises: SettingsError where the active stack has none of ours.
    """
    from zenml.client import Client
    from zenml.enums import StackComponentType
    from zenml.stack import StackComponent

    from seldon.delivery.deployer.deployer import SeldonDeployer
    from seldon.delivery.deployer.flavor import FLAVOR

    stack = Client().active_stack_model
    for component in stack.components.get(StackComponentType.MODEL_DEPLOYER, []):
        if component.flavor_name == FLAVOR and isinstance(deployer := StackComponent.from_model(component), SeldonDeployer):
            return deployer
    raise SettingsError(f"expected a stack with a deployer of the flavor '{FLAVOR}', got none in '{stack.name}'; run: make setup")
