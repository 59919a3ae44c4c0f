"""From torch to ONNX: the features once per backbone, the head and what belongs to it as a few nodes on top.

Shapes: B images, S pixels a side, D features, K classes, h x w cells of the feature map.
"""

import copy
import logging
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from imageloop.atomic_files import replacing
from imageloop.errors import ImageLoopError
from imageloop.model.backbones import Features
from imageloop.model.package import INPUT

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
        try:
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
        except torch.onnx.OnnxExporterError as error:
            reason = str(error.__cause__ or error).partition("\n")[0]
            raise ImageLoopError(
                f"training.model.backbone: expected a network that PyTorch exports to ONNX, got one that it does not ({reason}); choose another"
            ) from error
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
