import pytest

from imageloop.adapters.ray_engine import open_engine
from tests import servers


@pytest.fixture(scope="session")
def ray_cluster():
    """For tests of the group `ray`, which share it."""
    with servers.ray_cluster() as running:
        yield running


@pytest.fixture
def ray_engine(ray_cluster, monkeypatch):
    """The engine that `RAY_ADDRESS` names."""
    for name, value in ray_cluster.environment.items():
        monkeypatch.setenv(name, value)
    import ray  # which reads the environment now

    yield open_engine()
    ray.shutdown()
