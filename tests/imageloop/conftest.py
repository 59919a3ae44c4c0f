import pytest

from imageloop.adapters.ray_engine import open_engine
from tests import servers


class LosesMachine:
    """The engine of a cluster one of whose machines dies once so many items have ended. `ended`: the numbers of all, in that order."""

    is_this_process = False

    def __init__(self, engine, cluster, machine, after: int) -> None:
        self._engine, self._cluster, self._machine, self._after = engine, cluster, machine, after
        self.ended: list[int] = []

    def map(self, task, items):
        for number, result in self._engine.map(task, items):
            self.ended.append(number)
            if len(self.ended) == self._after:
                self._cluster.kill(self._machine)
            yield number, result


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
