"""The engine for many machines: workers of a Ray cluster, found by RAY_ADDRESS. Without it, or without Ray, nothing changes."""

import importlib.util
import itertools
import logging
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from imageloop.adapters.stack_reachability import TIMEOUT_SECONDS
from imageloop.errors import ImageLoopError, SettingsError
from imageloop.execution_engine import Engine, Link, Task, ThisProcess

logger = logging.getLogger(__name__)
VARIABLE = "RAY_ADDRESS"
MAX_CORES = 4  # of a worker: a small network gains little from more
MAX_ATTEMPTS = 4  # an item whose workers die so often is what kills them
SECONDS_BETWEEN = 5.0  # looks for machines that joined
PATIENCE_SECONDS = 120.0  # without any worker: a machine may come back, or an autoscaler bring one


def open_engine() -> Engine:
    """The engine of this process: Ray's cluster where RAY_ADDRESS names one, else this machine.

    Raises: SettingsError for an address where nothing listens, for Ray of another version, and where Ray is not installed.
    """
    address = os.environ.get(VARIABLE, "")
    return RayEngine(address) if address else ThisProcess()


def check_address() -> None:
    """Refuse an address where nothing listens, before a run begins. Raises: SettingsError."""
    if address := os.environ.get(VARIABLE):
        _refuse_silent(address)


class RayEngine:
    """Workers on the machines of a Ray cluster, each with at most `MAX_CORES` cores. Items of a worker that dies go to others."""

    is_this_process = False

    def __init__(self, address: str) -> None:
        if importlib.util.find_spec("ray") is None:
            raise SettingsError(
                f"{VARIABLE}: expected Ray to be installed, got none for '{address}'; install ray[client], or unset it"
            )
        _refuse_silent(address)
        import ray

        if ray.is_initialized():
            return
        try:
            ray.init(address=address, logging_level=logging.WARNING, log_to_driver=False)
        except (RuntimeError, ConnectionError, ValueError, AssertionError) as error:
            raise SettingsError(
                f"{VARIABLE}: expected Ray {ray.__version__} at '{address}', got: {str(error).strip().splitlines()[0]}; use the same version "
                "and the same Python on all machines"
            ) from error

    def map[Item, Result](self, task: Task[Item, Result], items: Iterable[Item]) -> Iterator[tuple[int, Result]]:
        import ray

        run = _Run(ray.put(task))
        try:
            yield from run.results(_Waiting(items))
        finally:
            run.end()

    def together[Result](self, work: Callable[[int, Link], Result], most: int, sender: Link, *, on_gpu: bool) -> Result:
        from imageloop.adapters.ray_training import train_together

        return train_together(work, most, sender, on_gpu=on_gpu)


class _Worker:
    """An actor: the task, opened with the first item, so that an error in that is the work's and no death of the worker."""

    def __init__(self, task: Any, cores: int) -> None:
        self._task, self._cores = task, cores
        self._work: Callable[[Any], Any] | None = None

    def run(self, item: Any) -> Any:
        if self._work is None:
            self._work = self._task.open(self._cores)
        return self._work(item)


class _Waiting:
    """Numbered items that no worker has: those that came back, then new ones, of which at most one is held here."""

    def __init__(self, items: Iterable[Any]) -> None:
        self._new = enumerate(items)
        self._held: deque[tuple[int, Any]] = deque()

    def __bool__(self) -> bool:
        if not self._held:
            self._held.extend(itertools.islice(self._new, 1))
        return bool(self._held)

    def take(self) -> tuple[int, Any]:
        return self._held.popleft()

    def put_back(self, number: int, item: Any) -> None:
        self._held.appendleft((number, item))


@dataclass(frozen=True)
class _Given:
    """An item that a worker has."""

    worker: Any
    number: int
    item: Any


class _Run:
    """The workers of one `map`, and what each of them is doing."""

    def __init__(self, task: Any) -> None:
        self._task = task
        self._workers: dict[str, list[Any]] = {}  # by machine
        self._idle: list[Any] = []
        self._given: dict[Any, _Given] = {}  # by the reference of the result
        self._attempts: dict[int, int] = {}

    def results(self, waiting: _Waiting) -> Iterator[tuple[int, Any]]:
        """The results as they end. `waiting`: items, which it empties."""
        import ray

        looked, alone_since = 0.0, time.monotonic()
        while waiting or self._given:
            now = time.monotonic()
            if now - looked > SECONDS_BETWEEN:
                self._hire()
                looked = now
            while self._idle and waiting:
                worker, (number, item) = self._idle.pop(), waiting.take()
                self._given[worker.run.remote(item)] = _Given(worker, number, item)
            if not self._given:
                if now - alone_since > PATIENCE_SECONDS:
                    raise ImageLoopError(
                        f"expected workers in the Ray cluster, got none for {PATIENCE_SECONDS:.0f} s; see `ray status`; the same command goes on"
                    )
                time.sleep(1)
                continue
            alone_since = now
            ended, _ = ray.wait(list(self._given), timeout=SECONDS_BETWEEN)
            for reference in ended:
                yield from self._collect(reference, waiting)

    def _collect(self, reference: Any, waiting: _Waiting) -> Iterator[tuple[int, Any]]:
        """The result of an item; one whose worker died waits again, before the others."""
        import ray

        given = self._given.pop(reference)
        try:
            result = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            raise (error.cause if isinstance(error.cause, Exception) else error) from None
        except ray.exceptions.RayError as error:  # its worker, its machine or its result is lost
            self._dismiss(given, error)
            waiting.put_back(given.number, given.item)
            return
        self._idle.append(given.worker)
        yield given.number, result

    def _dismiss(self, given: _Given, error: Exception) -> None:
        """Forget a worker that died; the next look at the machines replaces it. Raises: ImageLoopError for an item of which several died."""
        self._attempts[given.number] = self._attempts.get(given.number, 0) + 1
        if self._attempts[given.number] >= MAX_ATTEMPTS:
            raise ImageLoopError(
                f"expected item {given.number} to end, got {MAX_ATTEMPTS} workers that died of it; give the workers more memory, or the "
                f"items less to do: {str(error).strip().splitlines()[0]}"
            ) from error
        logger.warning("a worker of the Ray cluster died; another one does its work")
        for workers in self._workers.values():
            if given.worker in workers:
                workers.remove(given.worker)

    def _hire(self) -> None:
        """Give each machine as many workers as its processors allow, and forget those of machines that are gone."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        machines = {node["NodeID"]: int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]}
        for gone in set(self._workers) - set(machines):
            lost = self._workers.pop(gone)
            self._idle = [worker for worker in self._idle if worker not in lost]
        for machine, cores in machines.items():
            share = max(1, min(MAX_CORES, cores))
            strategy = NodeAffinitySchedulingStrategy(node_id=machine, soft=False)
            make = ray.remote(num_cpus=share, max_restarts=0, scheduling_strategy=strategy)(_Worker)
            there = self._workers.setdefault(machine, [])
            hired = [make.remote(self._task, share) for _ in range(cores // share - len(there))]
            there += hired
            self._idle += hired

    def end(self) -> None:
        """End the workers, whatever they do."""
        import ray

        for worker in (one for workers in self._workers.values() for one in workers):
            ray.kill(worker)


def _refuse_silent(address: str) -> None:
    """Raises: SettingsError where nothing listens, within seconds: Ray itself would try for minutes."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    if parts.scheme not in ("", "ray") or not parts.hostname or not parts.port:
        if address in ("auto", "local"):
            return
        raise SettingsError(
            f"{VARIABLE}: expected HOST:PORT of a head node, or ray://HOST:PORT, got '{address}'; see `ray status`"
        )
    try:
        socket.create_connection((parts.hostname, parts.port), TIMEOUT_SECONDS).close()
    except OSError as error:
        raise SettingsError(
            f"{VARIABLE}: expected a Ray cluster at '{address}', got no response ({error}); start it, or unset {VARIABLE} to work here"
        ) from error
