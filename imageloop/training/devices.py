"""Choose the device of a training: a GPU where there is one."""

import ctypes
import logging
from pathlib import Path
from typing import Literal

from imageloop.errors import SettingsError

logger = logging.getLogger(__name__)
DeviceChoice = Literal["auto", "cpu", "cuda"]
Device = Literal["cpu", "cuda"]
Precision = Literal["fp32", "bf16"]


def device_of(choice: DeviceChoice) -> Device:
    """The device to use; torch, which takes seconds to import, is imported only if a driver is installed.

    Raises: SettingsError where a GPU is expected and there is none that PyTorch can use.
    """
    has_gpu = choice != "cpu" and _has_driver() and _is_usable()
    if choice == "cuda" and not has_gpu:
        raise SettingsError(
            "training.device: expected a GPU, got none that PyTorch can use here; set training.device=cpu, or auto, which takes what there is"
        )
    return "cuda" if has_gpu else "cpu"


def _has_driver() -> bool:
    """NVIDIA's, or AMD's, which PyTorch calls cuda too."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return Path("/dev/kfd").exists()
    return True


def _is_usable() -> bool:
    """Check by computing there: PyTorch also counts cards that it has no code for, or that another process filled."""
    import torch

    if not torch.cuda.is_available():
        return False
    try:
        torch.ones(1, device="cuda").add(1).item()
    except RuntimeError as error:
        logger.warning("there is a GPU, and PyTorch cannot use it: %s", str(error).partition("\n")[0])
        return False
    return True
