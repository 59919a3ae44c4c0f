"""fp16 copies of ONNX models, for GPUs: half the memory, and the tensor cores. Inputs and outputs keep their types."""

from pathlib import Path

import onnx

from imageloop.atomic_files import replacing


def to_half_precision(model: Path, target: Path) -> None:
    """Write an fp16 copy of a model."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with replacing(target) as aside:
        onnx.save(convert_float_to_float16(onnx.load(model), keep_io_types=True), aside)
