"""The engine for many machines, with a real Ray cluster of two raylets."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass

import pytest

from imageloop.adapters.ray_engine import VARIABLE, RayEngine, open_engine
from imageloop.errors import ImageLoopError, SettingsError
from imageloop.execution_engine import ThisProcess
from tests.servers import free_port

pytestmark = pytest.mark.xdist_group("ray")


@dataclass(frozen=True)
class Square:
    """Squares numbers, after some seconds; dies of one, and refuses another."""

    seconds: float = 0.0
    deadly: int | None = None
    refused: int | None = None
    closed: bool = False

    def open(self, cores: int):
        if self.closed:
            raise ImageLoopError("expected an open door, got a closed one")

        def work(number: int) -> tuple[int, int, int]:
            time.sleep(self.seconds)
            if number == self.deadly:
                os._exit(1)
            if number == self.refused:
                raise ImageLoopError(f"expected another number, got {number}")
            return number**2, cores, os.getpid()

        return work


def test_without_an_address_everything_runs_in_this_process(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)

    engine = open_engine()

    assert isinstance(engine, ThisProcess)
    assert [result[0] for _, result in engine.map(Square(), range(4))] == [0, 1, 4, 9]


def test_a_machine_that_dies_in_the_middle_costs_no_item_and_doubles_none(ray_cluster, ray_engine):
    joined = ray_cluster.join_and_wait()
    numbers, squares, workers = [], set(), set()

    for number, result in ray_engine.map(Square(0.3), range(14)):
        numbers.append(number)
        squares.add(result[0])
        workers.add(result[2])
        if len(workers) == 2 and joined.poll() is None:
            ray_cluster.kill(joined)

    assert sorted(numbers) == list(range(14))
    assert squares == {number**2 for number in range(14)}
    assert len(workers) == 2


def test_an_error_of_the_work_is_raised_as_it_is(ray_engine):
    with pytest.raises(ImageLoopError, match="expected another number, got 2"):
        list(ray_engine.map(Square(refused=2), range(4)))

    with pytest.raises(ImageLoopError, match="expected an open door"):
        list(ray_engine.map(Square(closed=True), range(4)))
    assert len(list(ray_engine.map(Square(), range(4)))) == 4  # the workers of the failed one are gone


def test_an_item_that_kills_its_workers_is_given_up(ray_engine):
    with pytest.raises(ImageLoopError, match="expected item 1 to end, got 4 workers that died of it"):
        list(ray_engine.map(Square(deadly=1), range(3)))


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:{port}", "expected a Ray cluster at '127.0.0.1:{port}', got no response"),
        ("ray://127.0.0.1:{port}", "expected a Ray cluster at 'ray://127.0.0.1:{port}', got no response"),
        ("no-such-host.invalid:6379", "got no response"),
        ("http://127.0.0.1:8265", "expected HOST:PORT of a head node, or ray://HOST:PORT, got 'http://127.0.0.1:8265'"),
        ("somewhere", "expected HOST:PORT of a head node"),
    ],
)
def test_an_address_where_nothing_listens_is_refused(monkeypatch, address, message):
    port = free_port()
    monkeypatch.setenv(VARIABLE, address.format(port=port))

    with pytest.raises(SettingsError) as caught:
        open_engine()

    assert message.format(port=port) in str(caught.value)


def test_a_cluster_of_another_version_is_named(ray_cluster):
    """In a process of its own: within one process Ray keeps what it read of its environment."""
    script = "import ray; ray.__version__ = '1.0.0'; from imageloop.adapters.ray_engine import open_engine; open_engine()"
    environment = os.environ | ray_cluster.environment

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], env=environment, capture_output=True, text=True, timeout=120, check=False
    )

    assert "SettingsError: RAY_ADDRESS: expected Ray 1.0.0 at" in done.stderr.strip().splitlines()[-1], done.stderr


def test_ray_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)

    with pytest.raises(SettingsError, match=r"expected Ray to be installed, got none for"):
        RayEngine("127.0.0.1:6379")
