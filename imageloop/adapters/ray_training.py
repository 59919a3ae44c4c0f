"""One piece of work by several processes of a Ray cluster: Ray Train brings them together, and begins anew with those that are left."""

import logging
import uuid
from collections.abc import Callable
from typing import Any

from imageloop.abandoned_work import own_folder
from imageloop.adapters.ray_engine import MAX_CORES
from imageloop.errors import ImageLoopError
from imageloop.execution_engine import Link

logger = logging.getLogger(__name__)
MAX_FAILURES = 5
SECONDS_BETWEEN = 0.5  # looks for what processes sent


class Mailbox:
    """An actor on the machine of the sender: what processes report, and the state that they keep."""

    def __init__(self, state: bytes | None) -> None:
        self._state, self._waiting = state, list[tuple[str, Any]]()

    def put(self, kind: str, value: Any) -> None:
        """Take what a process sends."""
        if kind == "keep":
            self._state = value
        self._waiting.append((kind, value))

    def kept(self) -> bytes | None:
        """The state that was kept last."""
        return self._state

    def take(self) -> list[tuple[str, Any]]:
        """What has arrived since the last call, of states only the last one."""
        waiting, self._waiting = self._waiting, []
        states = [number for number, (kind, _) in enumerate(waiting) if kind == "keep"]
        return [one for number, one in enumerate(waiting) if one[0] != "keep" or number == states[-1]]


class MailboxLink:
    """The link of a process of the cluster."""

    def __init__(self, mailbox: Any) -> None:
        self._mailbox = mailbox

    def report(self, value: Any) -> None:
        self._call("put", "report", value)

    def keep(self, state: bytes | None) -> None:
        self._call("put", "keep", state)

    def kept(self) -> bytes | None:
        state: bytes | None = self._call("kept")
        return state

    def _call(self, method: str, *arguments: Any) -> Any:
        import ray

        return ray.get(getattr(self._mailbox, method).remote(*arguments))


def train_together[Result](work: Callable[[int, Link], Result], most: int, sender: Link, *, on_gpu: bool) -> Result:
    """Let at most so many processes of the cluster, one at least, do the work. `Engine.together` says what they may expect.

    Raises: ImageLoopError where processes die again and again.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(node_id=ray.get_runtime_context().get_node_id(), soft=False)
    mailbox = ray.remote(num_cpus=0, scheduling_strategy=here)(Mailbox).remote(sender.kept())
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cores = max(1, min(MAX_CORES, min((int(node.get("CPU", 0)) for node in nodes if node.get("CPU")), default=1)))
    with_gpu = on_gpu and sum(node.get("GPU", 0) for node in nodes) >= 1
    reference = ray.put(work)
    run = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=here)(_run_trainer)
    ended = run.remote([reference], most, cores, mailbox, str(own_folder("ray-train")), with_gpu=with_gpu)
    try:
        while not ray.wait([ended], timeout=SECONDS_BETWEEN)[0]:
            _deliver(mailbox, sender)
        result: Result = ray.get(ended)
        _deliver(mailbox, sender)
    except ray.exceptions.RayTaskError as error:
        raise ImageLoopError(
            f"expected the processes of the Ray cluster to end their work, got: {str(error).strip().splitlines()[-1]}"
        ) from error
    finally:
        ray.cancel(ended, force=True)
        ray.kill(mailbox)
    return result


def _deliver(mailbox: Any, sender: Link) -> None:
    import ray

    for kind, value in ray.get(mailbox.take.remote()):
        if kind == "failed":
            raise value
        if kind == "joined":
            logger.info("processes of the Ray cluster that train together: %d", value)
        else:
            (sender.keep if kind == "keep" else sender.report)(value)


def _run_trainer(work: list[Any], most: int, cores: int, mailbox: Any, folder: str, *, with_gpu: bool) -> Any:
    """Run Ray Train; a task of its own, because it takes over the signals of the process that it runs in."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    def of_process(config: dict[str, Any]) -> Any:
        import ray
        from ray.train import get_context

        if get_context().get_world_rank() == 0:
            ray.get(config["mailbox"].put.remote("joined", get_context().get_world_size()))
        try:
            return ray.get(config["work"][0])(config["cores"], MailboxLink(config["mailbox"]))
        except ImageLoopError as error:  # another attempt would meet it again
            ray.get(config["mailbox"].put.remote("failed", error))
            raise

    trainer = TorchTrainer(
        of_process,
        train_loop_config={"work": work, "cores": cores, "mailbox": mailbox},
        scaling_config=ScalingConfig(
            num_workers=(1, most) if most > 1 else 1, use_gpu=with_gpu, resources_per_worker={"CPU": cores}
        ),
        run_config=RunConfig(name=uuid.uuid4().hex, storage_path=folder, failure_config=FailureConfig(max_failures=MAX_FAILURES)),
    )
    return trainer.fit().return_value
