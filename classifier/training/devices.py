"""Where a training computes: on a GPU where there is one."""

import ctypes
from pathlib import Path
from typing import Literal

from classifier.errors import ImageLoopError

Wanted = Literal["auto", "cpu", "cuda"]
Device = Literal["cpu", "cuda"]


def device_of(wanted: Wanted) -> Device:
    """What is there of what is wanted; torch, which takes seconds to load, is asked only where a driver is installed.

    Raises: ImageLoopError where a GPU is wanted and there is none that PyTorch can use.
    """
    found = wanted != "cpu" and _has_driver() and _is_usable()
    if wanted == "cuda" and not found:
        raise ImageLoopError(
            "training.device: wanted a GPU, found none that PyTorch can use here; set training.device=cpu, or auto, which takes what there is"
        )
    return "cuda" if found else "cpu"


def _has_driver() -> bool:
    """NVIDIA's, or AMD's, which PyTorch calls cuda too."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return Path("/dev/kfd").exists()
    return True


def _is_usable() -> bool:
    import torch

    return torch.cuda.is_available()
