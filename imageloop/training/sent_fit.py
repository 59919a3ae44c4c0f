"""A training on images as one piece of work that can be sent to other machines, where several processes do it together.

Shapes: N images that train and V that validate, of S x S pixels.
"""

import io
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, nn

from imageloop.atomic_files import replacing
from imageloop.data.preprocessing import UInt8Array
from imageloop.execution_engine import Engine, Link, current_engine
from imageloop.training.batches import images_in_batches
from imageloop.training.checkpoint import SECONDS_BETWEEN, Checkpoint
from imageloop.training.devices import device_of
from imageloop.training.loop_settings import LoopOnImages
from imageloop.training.ranks import Alone, Together
from imageloop.training.settings import TrainingSettings
from imageloop.training.trained_model import EpochReport
from imageloop.training.training_loop import Fitted, Work, fit

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SentFit:
    """A network with everything that its training needs; it is called by each of the processes."""

    model: nn.Module
    loop: LoopOnImages
    settings: TrainingSettings
    images_NSSC: UInt8Array
    targets_N: NDArray[np.int64]
    validation_VSSC: UInt8Array
    validation_targets: NDArray[np.int64]
    class_names: list[str]
    class_weights: Tensor | None
    max_seconds: float

    def __call__(self, cores: int, link: Link) -> tuple[bytes, Fitted]:
        """Train, and return the weights, as `torch.save` writes them, and what was reached.

        Raises: ImageLoopError for a loss that is no number.
        """
        torch.set_num_threads(cores)
        device, seed, size = device_of(self.settings.device), self.settings.seed, self.loop.batch_size
        batches = images_in_batches(
            lambda numbers: self.images_NSSC[numbers], self.targets_N, self.loop, len(self.class_names), seed, device
        )
        starts = range(0, len(self.validation_VSSC), size)
        work = Work(
            batches,
            len(self.targets_N) // size or 1,
            lambda: (torch.from_numpy(self.validation_VSSC[start : start + size]) for start in starts),
            self.validation_targets,
            self.class_names,
            self.class_weights,
            torch.device(device),
            seed,
            self.max_seconds,
            precision=self.settings.precision,
            ranks=Together() if distributed.is_initialized() else Alone(),
        )
        is_first = work.ranks.is_first
        checkpoint = _LinkedCheckpoint(link, writes=is_first)
        fitted = fit(self.model, work, self.loop, checkpoint, link.report if is_first else _nobody)
        return _packed({name: value.cpu() for name, value in self.model.state_dict().items()}), fitted


def engine_of(workers: int) -> Engine | None:
    """The engine for a training by several processes; None for one here."""
    engine = current_engine() if workers > 1 else None
    if engine is not None and engine.is_this_process:
        logger.warning("RAY_ADDRESS names no Ray cluster: one process trains, instead of %d", workers)
        return None
    return engine


def fit_together(engine: Engine, sent: SentFit, received: "Received") -> Fitted:
    """Train by several processes, and leave the model with their weights."""
    if received.kept() is not None:
        logger.info("the training goes on where an earlier command left off")
    state, fitted = engine.together(sent, sent.settings.workers, received, on_gpu=sent.settings.device != "cpu")
    sent.model.load_state_dict(_unpacked(state))
    return fitted


class Received:
    """What arrives here from a training elsewhere: its epochs, each reported once though a training that lost a process repeats some; and its
    state, as a checkpoint of this machine.
    """

    def __init__(self, checkpoint: Checkpoint, report: Callable[[EpochReport], None]) -> None:
        self._checkpoint, self._report, self._next = checkpoint, report, 0

    def report(self, epoch: EpochReport) -> None:
        """Report an epoch that was not reported yet."""
        if epoch.epoch >= self._next:
            self._next = epoch.epoch + 1
            self._report(epoch)

    def keep(self, state: bytes | None) -> None:
        """Replace the checkpoint, or remove it."""
        if state is None:
            self._checkpoint.remove()
            return
        with replacing(self._checkpoint.file) as aside:
            aside.write_bytes(state)

    def kept(self) -> bytes | None:
        """The state with which an earlier command left off."""
        return None if self._checkpoint.load() is None else self._checkpoint.file.read_bytes()


class _LinkedCheckpoint:
    """The state of a training, which is kept by whoever sent it. `writes`: whether this process is the one that has it kept; all read it."""

    def __init__(self, link: Link, *, writes: bool) -> None:
        self._link, self._writes, self._saved_at = link, writes, time.monotonic()

    def is_due(self) -> bool:
        return self._writes and time.monotonic() - self._saved_at >= SECONDS_BETWEEN

    def save(self, state: dict[str, Any]) -> None:
        self._link.keep(_packed(state))
        self._saved_at = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        kept = self._link.kept()
        return None if kept is None else _unpacked(kept)

    def remove(self) -> None:
        if self._writes:
            self._link.keep(None)


def _packed(state: dict[str, Any]) -> bytes:
    content = io.BytesIO()
    torch.save(state, content)
    return content.getvalue()


def _unpacked(content: bytes) -> dict[str, Any]:
    state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return state


def _nobody(_: EpochReport) -> None:
    pass
