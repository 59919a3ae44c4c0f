"""The processes that train one network together: each computes its rows of every batch, and after every step all have the same weights.

Source: Li et al., PyTorch Distributed: experiences on accelerating data parallel training, 2020.

Shapes: B rows a batch, K classes.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor, distributed, nn


class Ranks(Protocol):
    """One of the processes. `is_first`: whether it is the one that reports, and whose checkpoints are kept."""

    is_first: bool

    def wrapped(self, model: nn.Module) -> nn.Module:
        """The model whose gradients are means over all processes."""
        ...

    def own_rows(self, count: int) -> slice:
        """Which rows of a batch this process computes."""
        ...

    def scaled(self, loss: Tensor, targets_B: Tensor, weights_K: Tensor | None) -> Tensor:
        """The mean loss of the own rows, so that the mean over all processes is that of the batch. `targets_B`: of the whole batch."""
        ...

    def computing(self) -> AbstractContextManager[None]:
        """Within it random numbers may be drawn that other processes do not draw."""
        ...

    def mean(self, value: Tensor) -> Tensor:
        """The mean over all processes."""
        ...

    def in_turns(self, items: Iterator[Any], work: Callable[[Any], Any]) -> list[Any]:
        """The results of all items, of which each process does its share."""
        ...

    def as_first[Value](self, value: Value) -> Value:
        """What the first process has."""
        ...

    def share_statistics(self, model: nn.Module) -> None:
        """Give the model the running statistics that the first process has."""
        ...


class Alone:
    """A training in this process alone."""

    is_first = True

    def wrapped(self, model: nn.Module) -> nn.Module:
        return model

    def own_rows(self, count: int) -> slice:
        return slice(count)

    def scaled(self, loss: Tensor, targets_B: Tensor, weights_K: Tensor | None) -> Tensor:
        return loss

    def computing(self) -> AbstractContextManager[None]:
        return nullcontext()

    def mean(self, value: Tensor) -> Tensor:
        return value

    def in_turns(self, items: Iterator[Any], work: Callable[[Any], Any]) -> list[Any]:
        return [work(item) for item in items]

    def as_first[Value](self, value: Value) -> Value:
        return value

    def share_statistics(self, model: nn.Module) -> None:
        pass


class Together:
    """One process of a group that `torch.distributed` knows. All draw the same batches."""

    def __init__(self) -> None:
        self._number, self._count = distributed.get_rank(), distributed.get_world_size()
        self.is_first = self._number == 0

    def wrapped(self, model: nn.Module) -> nn.Module:
        return nn.parallel.DistributedDataParallel(model)

    def own_rows(self, count: int) -> slice:
        """A batch of fewer rows than processes is computed by all of them."""
        return slice(count) if count < self._count else slice(self._number, count, self._count)

    def scaled(self, loss: Tensor, targets_B: Tensor, weights_K: Tensor | None) -> Tensor:
        own = self.own_rows(len(targets_B))
        if len(targets_B) < self._count:
            return loss
        # of shares of classes the loss is a mean of rows
        weights_B = torch.ones(len(targets_B)) if weights_K is None or targets_B.ndim == 2 else weights_K[targets_B]
        return loss * float(weights_B[own].sum() / weights_B.sum() * self._count)

    @contextmanager
    def computing(self) -> Iterator[None]:
        with torch.random.fork_rng(devices=[]):
            yield

    def mean(self, value: Tensor) -> Tensor:
        distributed.all_reduce(value)
        return value / self._count

    def in_turns(self, items: Iterator[Any], work: Callable[[Any], Any]) -> list[Any]:
        own = [(number, work(item)) for number, item in enumerate(items) if number % self._count == self._number]
        parts: list[Any] = [None] * self._count
        distributed.all_gather_object(parts, own)
        return [result for _, result in sorted((one for part in parts for one in part), key=lambda one: one[0])]

    def as_first[Value](self, value: Value) -> Value:
        values = [value]
        distributed.broadcast_object_list(values, src=0)
        return values[0]

    def share_statistics(self, model: nn.Module) -> None:
        for buffer in model.buffers():
            distributed.broadcast(buffer, src=0)
