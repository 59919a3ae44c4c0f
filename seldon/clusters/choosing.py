"""Which cluster a deployer's configuration means."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from classifier.files import replacing
from classifier.workspace import Workspace
from seldon.clusters.contract import Cluster
from seldon.clusters.settings import ClusterSettings, KubernetesSettings

SALT_VARIABLE = "IMAGELOOP_SOURCE_SALT"


def open_cluster(settings: ClusterSettings, workspace: Workspace, environment: Mapping[str, str] | None = None) -> Cluster:
    """Only what is chosen is loaded."""
    if isinstance(settings, KubernetesSettings):
        from seldon.clusters.kubernetes.cluster import KubernetesCluster

        return KubernetesCluster(settings)
    from seldon.clusters.local.cluster import LocalCluster, serving_python

    folder = settings.folder or workspace.state / "serving"
    given = {"IMAGELOOP_HOME": str(workspace.home), SALT_VARIABLE: source_salt(workspace)} | dict(environment or {})
    return LocalCluster(Path(folder), settings.gateway, serving_python(), given)


def source_salt(workspace: Workspace) -> str:
    """This site's own secret, by which the records tell callers apart and name none; made when it is first wanted."""
    if given := os.environ.get(SALT_VARIABLE):
        return given
    file = workspace.keys / "source.salt"
    with workspace.lock("source-salt"):
        if not file.exists():
            with replacing(file) as aside:
                aside.touch(0o600)
                aside.write_text(secrets.token_hex(16))
        return file.read_text()
