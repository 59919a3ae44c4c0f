"""Which cluster a deployer's configuration means."""

from collections.abc import Mapping
from pathlib import Path

from classifier.workspace import Workspace
from seldon.clusters.contract import Cluster
from seldon.clusters.settings import ClusterSettings, KubernetesSettings


def open_cluster(settings: ClusterSettings, workspace: Workspace, environment: Mapping[str, str] | None = None) -> Cluster:
    """Only what is chosen is loaded."""
    if isinstance(settings, KubernetesSettings):
        from seldon.clusters.kubernetes.cluster import KubernetesCluster

        return KubernetesCluster(settings)
    from seldon.clusters.local.cluster import LocalCluster, serving_python

    folder = settings.folder or workspace.state / "serving"
    given = {"IMAGELOOP_HOME": str(workspace.home)} | dict(environment or {})
    return LocalCluster(Path(folder), settings.gateway, serving_python(), given)
