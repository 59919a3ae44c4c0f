"""Int8 copies of ONNX models: quantised with images of the training data, and the same predictions on every processor.

Shapes: O output channels, I input channels, H x W kernel.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from imageloop.atomic_files import replacing
from imageloop.data.preprocessing import UInt8Array
from imageloop.model.package import BATCH, INPUT

FloatArray = NDArray[np.float32]


def quantise(features: Path, target: Path, images_BHWC: UInt8Array) -> None:
    """Write an int8 copy of a features model: unsigned activations, signed weights per channel, ranges from `images`.

    Every processor predicts alike: weights leave room for one that would overflow (`safe_ranges`). Source: ONNX Runtime's guidance for
    x86-64, which removes a bit from every weight instead.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    model = onnx.load(features)  # not its path: it would put a file of its own beside it, where another run may be doing so too
    with replacing(target) as aside:
        quantize_static(
            model,
            aside,
            _Calibration(images_BHWC),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Add", "Clip", "Relu"],
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"TensorQuantOverrides": _safe_ranges(model)},
        )


def is_convolutional(features: Path) -> bool:
    """Whether most weights of a features model are those of convolutions, which alone are quantised."""
    model = onnx.load(features)
    sizes = {part.name: int(np.prod(part.dims)) for part in model.graph.initializer}
    of_convolutions = {node.input[1] for node in model.graph.node if node.op_type == "Conv"}
    return 2 * sum(sizes[name] for name in of_convolutions & sizes.keys()) > sum(sizes.values())


def _safe_ranges(model: onnx.ModelProto) -> dict[str, list[dict[str, Any]]]:
    """Make ONNX Runtime's overrides with the range of each output channel of each convolution."""
    weights = {part.name: numpy_helper.to_array(part) for part in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv" and node.input[1] in weights]
    groups = {node.input[1]: part.i for node in convolutions for part in node.attribute if part.name == "group"}
    return {node.input[1]: _overrides(safe_ranges(weights[node.input[1]], groups.get(node.input[1], 1))) for node in convolutions}


def safe_ranges(weights_OIHW: FloatArray, group: int) -> FloatArray:
    """The largest weight that a channel's 8 bits shall stand for. Shapes: (O, I, H, W) -> (O,).

    Without VNNI an x86-64 adds two neighbours' products in 16 bits, of activations up to 255: two weights may come to 128 together. So
    a range holds each sum of two neighbours, too; in EfficientNet-Lite0 it is 1.2 times that of the weights alone. Neighbours are input
    channels, position after position, as ONNX Runtime lays them out. Depthwise convolutions are computed otherwise, and overflow nowhere.
    """
    num_channels, inputs = weights_OIHW.shape[:2]
    flat_ON = weights_OIHW.transpose(0, 2, 3, 1).reshape(num_channels, -1)
    largest_O: FloatArray = np.abs(flat_ON).max(1)
    if inputs == 1 and group == num_channels > 1:
        return largest_O
    pairs_OM = np.pad(flat_ON, ((0, 0), (0, flat_ON.shape[1] % 2))).reshape(num_channels, -1, 2).sum(2)
    ranges_O: FloatArray = np.maximum(largest_O, np.abs(pairs_OM).max(1))
    return ranges_O


def _overrides(ranges_O: FloatArray) -> list[dict[str, Any]]:
    each: list[dict[str, Any]] = [{"rmin": -most, "rmax": most, "symmetric": True} for most in ranges_O]
    return [each[0] | {"axis": 0}, *each[1:]]


class _Calibration:
    """Hands images to ONNX Runtime's calibrator, a batch at a time."""

    def __init__(self, images_BHWC: UInt8Array) -> None:
        self._batches: Iterator[UInt8Array] = (images_BHWC[i : i + BATCH] for i in range(0, len(images_BHWC), BATCH))

    def get_next(self) -> dict[str, UInt8Array] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}
