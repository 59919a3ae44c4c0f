"""Scale what is deployed on this machine, while the monitor's daemon runs."""

import logging
import threading

from imageloop.errors import ImageLoopError
from imageloop.workspace_paths import Workspace
from seldon.delivery.clusters.local.autoscaling import SAMPLE_SECONDS, Autoscaler
from seldon.delivery.clusters.local.local_cluster import LocalCluster
from seldon.delivery.clusters.open_cluster import open_cluster
from seldon.delivery.clusters.settings import LocalSettings
from seldon.delivery.deployer.last_deployment import read_deployed

logger = logging.getLogger(__name__)


def scale_until(stopping: threading.Event, workspace: Workspace, stack_id: str) -> None:
    """Scale the deployments of a stack until `stopping`; a cluster that scales its pods itself is left alone."""
    autoscaler: Autoscaler | None = None
    while not stopping.wait(SAMPLE_SECONDS):
        try:
            autoscaler = autoscaler or _autoscaler_of(workspace, stack_id)
            for changed in autoscaler.step() if autoscaler else []:
                logger.info("%s", changed)
        except (ImageLoopError, OSError) as error:  # the next sample tries it again
            logger.warning("nothing could be scaled: %s", error)


def _autoscaler_of(workspace: Workspace, stack_id: str) -> Autoscaler | None:
    last = read_deployed(workspace, stack_id)
    if last is None or not isinstance(last.cluster, LocalSettings):  # a client of an API server is not opened for that
        return None
    cluster = open_cluster(last.cluster, workspace)
    return Autoscaler(cluster) if isinstance(cluster, LocalCluster) else None
