"""Checkpoints: a training that was interrupted goes on with the same settings on the same data."""

import logging
import time
from pathlib import Path
from typing import Any, Protocol

import torch

from imageloop.atomic_files import replacing

logger = logging.getLogger(__name__)
SECONDS_BETWEEN = 5.0  # the maximum that is lost; a head that trains in a second never writes one


class KeepsState(Protocol):
    """What a training needs of a checkpoint."""

    def is_due(self) -> bool: ...
    def save(self, state: dict[str, Any]) -> None: ...
    def load(self) -> dict[str, Any] | None: ...
    def remove(self) -> None: ...


class Checkpoint:
    """The checkpoint file of one training; removed when the training is done."""

    def __init__(self, folder: Path, key: str) -> None:
        self.file = folder / f"{key}.pt"
        self._saved_at = time.monotonic()

    def is_due(self) -> bool:
        return time.monotonic() - self._saved_at >= SECONDS_BETWEEN

    def save(self, state: dict[str, Any]) -> None:
        with replacing(self.file) as aside:
            torch.save(state, aside)
        self._saved_at = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The last state, None where there is none or where it cannot be read."""
        if not self.file.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.file, map_location="cpu", weights_only=True)  # also one that a GPU wrote
        except Exception as error:  # torch raises what its unpickler or its zip reader happens to meet
            logger.warning("the checkpoint %s cannot be read and is made again (%s)", self.file, type(error).__name__)
            self.remove()
            return None
        return state

    def remove(self) -> None:
        self.file.unlink(missing_ok=True)
