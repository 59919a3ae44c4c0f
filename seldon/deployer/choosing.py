"""The deployer of the active stack."""

from typing import TYPE_CHECKING

from classifier.errors import SettingsError

if TYPE_CHECKING:
    from seldon.deployer.deployer import SeldonDeployer


def active_deployer() -> "SeldonDeployer":
    """Raises: SettingsError where the active stack has none of ours."""
    from zenml.client import Client

    from seldon.deployer.deployer import SeldonDeployer

    stack = Client().active_stack
    if not isinstance(stack.model_deployer, SeldonDeployer):
        raise SettingsError(
            f"wanted a stack with a deployer of the flavor 'imageloop_seldon', found none in '{stack.name}'; run: make setup"
        )
    return stack.model_deployer
