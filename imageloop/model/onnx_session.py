"""How a model is opened in ONNX Runtime, wherever one is run."""

from pathlib import Path

import onnxruntime


def open_session(model: Path | bytes, threads: int) -> onnxruntime.InferenceSession:
    """`threads` compute one batch together. `model`: a file, or its content.

    They sleep while they wait. Spinning, which is ONNX Runtime's default, gains nothing on a free machine and takes
    processor time from other processes (`make bench-waiting`).
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
