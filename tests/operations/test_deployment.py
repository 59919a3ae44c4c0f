"""Which place is remembered as the one that was deployed to last."""

import pytest

from classifier.errors import ImageLoopError
from operations import deployment
from operations.deployment import _remembered
from seldon.clusters.settings import LocalSettings
from seldon.deployer.pointer import Deployed, read_deployed, write_deployed

STAGING = Deployed(cluster=LocalSettings(), namespace="staging", name="pets")
PRODUCTION = Deployed(cluster=LocalSettings(), namespace="production", name="pets")


@pytest.mark.parametrize(
    ("found", "remembered"), [(None, STAGING), ("a manifest", PRODUCTION), (ImageLoopError("gone"), PRODUCTION)]
)
def test_a_failure_that_left_nothing_is_forgotten(workspace, monkeypatch, found, remembered):
    class Cluster:
        def get(self, *_place):
            if isinstance(found, Exception):
                raise found
            return found

    monkeypatch.setattr(deployment, "open_cluster", lambda *_: Cluster())
    write_deployed(workspace, STAGING)

    with pytest.raises(ImageLoopError, match="no image"), _remembered(PRODUCTION):
        raise ImageLoopError("no image")

    assert read_deployed(workspace) == remembered


def test_what_was_deployed_is_remembered(workspace):
    write_deployed(workspace, STAGING)

    with _remembered(PRODUCTION):
        assert read_deployed(workspace) == PRODUCTION

    assert read_deployed(workspace) == PRODUCTION
