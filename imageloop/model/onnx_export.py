"""From torch to ONNX: the features once per backbone, the head and what belongs to it as a few nodes on top.

Shapes: B images, S pixels a side, D features, K classes, h x w cells of the feature map.
"""

import copy
import logging
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from imageloop.atomic_files import replacing
from imageloop.data.preprocessing import UInt8Array
from imageloop.model.backbones import Features
from imageloop.model.package import BATCH, INPUT

logger = logging.getLogger(__name__)
FloatArray = NDArray[np.float32]
OPSET = 20


def export_features(features: Features, side: int, target: Path) -> None:
    """Write the features as ONNX: `images` (B, S, S, 3) uint8 -> `feature_map` (B, D, h, w) and `embedding` (B, D)."""
    example = torch.randint(0, 256, (2, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    features = _folded(features.eval().cpu(), example)
    for module in features.modules():
        if "inplace" in vars(module):  # the exporter takes operations in place apart, which doubles its time, to find the same
            vars(module)["inplace"] = False
    with replacing(target) as aside:
        torch.onnx.export(
            _WithMean(features).eval(),
            (example,),
            aside,
            input_names=[INPUT],
            output_names=["feature_map", "embedding"],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=65_536)},),
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
        onnx.save(_without_traces(onnx.load(aside)), aside)


def _folded(features: Features, example: torch.Tensor) -> Features:
    """A copy with each normalisation folded into the convolution before it, which halves the exporter's time, where that changes nothing."""
    folded = copy.deepcopy(features)
    for module in folded.modules():
        for (name, child), (after, norm) in pairwise(list(module.named_children())):
            if isinstance(child, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and _fits(child, norm):
                setattr(module, name, fuse_conv_bn_eval(child, norm))
                setattr(module, after, nn.Sequential(*(getattr(norm, part) for part in ("drop", "act") if hasattr(norm, part))))
    with torch.inference_mode():
        unchanged = torch.allclose(folded(example), features(example), rtol=1e-4, atol=1e-4)
    return folded if unchanged else copy.deepcopy(features)


def _fits(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> bool:
    return convolution.out_channels == norm.num_features and norm.running_mean is not None


def _without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model without the exporter's stack traces: they name this machine's folders, and part equal models."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    return model


class _WithMean(torch.nn.Module):
    def __init__(self, features: Features) -> None:
        super().__init__()
        self.features = features

    def forward(self, images_BHWC: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features_BDhw = self.features(images_BHWC)
        return features_BDhw, features_BDhw.mean((2, 3))


def attach_head(features: Path, target: Path, weight_KD: FloatArray, bias_K: FloatArray, temperature: float) -> None:
    """Write a whole classifier: softmax((W e + b) / T), the embedding e, and for each class its map W f over the cells."""
    model = onnx.load(features)
    graph = model.graph
    scaled_KD, scaled_K = weight_KD / temperature, bias_K / temperature
    graph.initializer.extend(
        [
            numpy_helper.from_array(scaled_KD.T.astype(np.float32), "head_weight"),
            numpy_helper.from_array(scaled_K.astype(np.float32), "head_bias"),
            numpy_helper.from_array(weight_KD[:, :, None, None].astype(np.float32), "map_weight"),
        ]
    )
    graph.node.extend(
        [
            helper.make_node("Gemm", ["embedding", "head_weight", "head_bias"], ["scaled_logits"], name="head"),
            helper.make_node("Softmax", ["scaled_logits"], ["probabilities"], name="head_softmax", axis=-1),
            helper.make_node("Conv", ["feature_map", "map_weight"], ["activation_map"], name="head_map"),
        ]
    )
    num_classes, num_features = weight_KD.shape
    del graph.output[:]
    graph.output.extend(
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", num_classes]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", num_features]),
            helper.make_tensor_value_info("activation_map", TensorProto.FLOAT, ["batch", num_classes, None, None]),
        ]
    )
    onnx.checker.check_model(model)
    with replacing(target) as aside:
        onnx.save(model, aside)


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
