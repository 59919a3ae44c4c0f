"""Which cluster a deployer's configuration means."""

import os
from collections.abc import Mapping
from pathlib import Path

from imageloop.atomic_files import own_secret
from imageloop.workspace_paths import Workspace
from seldon.delivery.clusters.cluster_protocol import Cluster
from seldon.delivery.clusters.settings import ClusterSettings, KubernetesSettings
from seldon.service.rollout_requests import SALT_VARIABLE


def open_cluster(settings: ClusterSettings, workspace: Workspace, environment: Mapping[str, str] | None = None) -> Cluster:
    """Open the cluster of the settings; only its own modules are imported."""
    if isinstance(settings, KubernetesSettings):
        from seldon.delivery.clusters.kubernetes.kubernetes_cluster import KubernetesCluster

        return KubernetesCluster(settings)
    from seldon.delivery.clusters.local.local_cluster import LocalCluster
    from seldon.delivery.clusters.local.replicas import serving_python

    folder = settings.folder or workspace.state / "serving"
    given = {"IMAGELOOP_HOME": str(workspace.home), SALT_VARIABLE: source_salt(workspace)} | dict(environment or {})
    return LocalCluster(Path(folder), settings.gateway, serving_python(), given)


def source_salt(workspace: Workspace) -> str:
    """Return this site's secret, with which records distinguish callers without naming them."""
    return os.environ.get(SALT_VARIABLE) or own_secret(workspace.keys / "source.salt")
