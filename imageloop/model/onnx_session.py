"""How a model is opened in ONNX Runtime, wherever one is run: on a GPU where there is one and the installed build can use it."""

import os
from functools import cache
from pathlib import Path

import onnxruntime

from imageloop.errors import SettingsError

DEVICE_VARIABLE, DEVICES = "IMAGELOOP_DEVICE", ("auto", "cpu", "cuda")
CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
GPU_FILES = ("/dev/nvidiactl", "/dev/dxg")  # of NVIDIA's driver: on Linux, and within Windows


class GpuLostError(RuntimeError):
    """A GPU that failed while it computed: its process can use it no more."""


@cache
def runs_on_gpu() -> bool:
    """Whether models are opened on a GPU.

    Raises: SettingsError where IMAGELOOP_DEVICE asks for one that cannot be used, or for something else.
    """
    device = os.environ.get(DEVICE_VARIABLE) or "auto"
    if device not in DEVICES:
        raise SettingsError(f"{DEVICE_VARIABLE}: expected {', '.join(DEVICES)}, got '{device}'")
    built, found = CUDA in onnxruntime.get_available_providers(), any(Path(file).exists() for file in GPU_FILES)
    if device == "cuda" and not (built and found):
        lacking = "no GPU of NVIDIA's" if built else "a build of ONNX Runtime for processors (onnxruntime, not onnxruntime-gpu)"
        raise SettingsError(f"{DEVICE_VARIABLE}=cuda: expected a GPU and a build of ONNX Runtime for it, got {lacking}")
    return device != "cpu" and built and found


def open_session(model: Path | bytes, threads: int) -> onnxruntime.InferenceSession:
    """`threads` compute one batch together. `model`: a file, or its content.

    They sleep while they wait. Spinning, which is ONNX Runtime's default, gains nothing on a free machine and takes
    processor time from other processes (`make bench-waiting`).

    Raises: SettingsError where IMAGELOOP_DEVICE asks for a GPU that cannot be used.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers = [CPU]
    if runs_on_gpu():
        onnxruntime.preload_dlls()  # CUDA's libraries of the installed packages
        providers = [CUDA, CPU]
    session = onnxruntime.InferenceSession(model, options, providers=providers)
    if os.environ.get(DEVICE_VARIABLE) == "cuda" and session.get_providers()[0] != CUDA:
        raise SettingsError(
            f"{DEVICE_VARIABLE}=cuda: expected CUDA to start, got an error of its libraries or its driver; see nvidia-smi"
        )
    return session
