"""The retained images of a deployment, for the steps of a retraining."""

from imageloop.lifecycle.feedback_images import ImagesByRequest
from imageloop.workspace_paths import Workspace
from seldon.delivery.deployer.active_deployer import active_deployer


def retained_images(deployment: str) -> ImagesByRequest:
    """Those of a deployment, NAMESPACE/NAME, where this machine has its records; none without a name."""
    namespace, _, name = deployment.partition("/")
    records = active_deployer().cluster.records(namespace, name) if name else None
    return ImagesByRequest.of(records, Workspace.current())
