"""What the tests of a deployment on this machine share."""

import pytest

from seldon.delivery.render_manifest import render


@pytest.fixture(scope="module")
def served(make_cluster, predictor_spec):
    """One deployment with two replicas, for the tests that do it no lasting harm."""
    cluster = make_cluster()
    cluster.apply(render("pets", "default", [predictor_spec("1", replicas=2)]))
    yield cluster
    cluster.stop()
