"""A local cluster that serves what a benchmark's site has trained."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.training import Site
from seldon.delivery.clusters.local.local_cluster import LocalCluster
from seldon.delivery.clusters.local.replicas import serving_python
from seldon.delivery.clusters.settings import GatewaySettings
from seldon.service.rollout_requests import SALT_VARIABLE


@contextmanager
def local_cluster(site: Site, folder: Path) -> Iterator[LocalCluster]:
    """A cluster below `folder` that trusts the site's packages; all that it serves ends with it."""
    environment = {"IMAGELOOP_VERIFICATION_KEY": str(site.verification_key), SALT_VARIABLE: "a secret of the benchmark"}
    cluster = LocalCluster(folder, GatewaySettings(port=0), serving_python(), environment)
    try:
        yield cluster
    finally:
        cluster.stop()
