"""From a network of timm's to its feature map: convolutional networks have one, transformers have tokens, of which one is made.

Shapes: B images, H x W pixels, C channels, N tokens, h x w cells of the feature map.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from imageloop.errors import ImageLoopError


class ConvolutionalMap(nn.Module):
    """timm's networks give class scores when called; this returns the map before the pooling. `channels_last`: the network puts them there."""

    def __init__(self, network: nn.Module, *, channels_last: bool = False) -> None:
        super().__init__()
        self.network = network
        self.channels_last = channels_last

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Shapes: (B, 3, H, W) float32 -> (B, C, h, w)."""
        found = _forward_features(self.network)(images_BCHW)
        return found.permute(0, 3, 1, 2) if self.channels_last else found


class TokenMap(nn.Module):
    """The tokens of a vision transformer as a feature map: each patch is a cell.

    Where the network is pooled by its class token, that stands beside the patches in every cell: the mean over the cells is the class token and
    the mean patch, and a linear head on it has a class activation map in which the class token adds the same to every cell.
    Source of the two together: Oquab et al., DINOv2, 2023 (linear evaluation).
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.num_prefix = int(getattr(network, "num_prefix_tokens", 0))
        self.has_class_token = self.num_prefix > 0 and getattr(network, "global_pool", "") == "token"

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Shapes: (B, 3, H, W) float32 -> (B, C, h, w), or (B, 2 C, h, w) with the class token first."""
        tokens_BNC = _forward_features(self.network)(images_BCHW)
        normalise = getattr(self.network, "fc_norm", None)
        if isinstance(normalise, nn.Module):  # of networks that normalise the mean of the tokens, and not each one
            tokens_BNC = normalise(tokens_BNC)
        patches_BCN = tokens_BNC[:, self.num_prefix :].transpose(1, 2)
        side = math.isqrt(patches_BCN.shape[2])
        patches_BChw: Tensor = patches_BCN.reshape(*patches_BCN.shape[:2], side, side)
        if not self.has_class_token:
            return patches_BChw
        class_BC11 = tokens_BNC[:, 0, :, None, None]
        return torch.cat([class_BC11.expand_as(patches_BChw), patches_BChw], 1)


def feature_map_of(network: nn.Module, name: str, side: int) -> tuple[nn.Module, int]:
    """A module that gives the network's feature map, and its number of channels.

    Raises: ImageLoopError for a network whose features are neither a map nor one token a patch, or that takes no image of `side` pixels.
    """
    try:
        with torch.inference_mode():
            found = _forward_features(network)(torch.zeros(1, 3, side, side))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise ImageLoopError(
            f"training.model.side_pixels: expected a side that '{name}' takes, got {side} ({error}); choose another side"
        ) from error
    if found.ndim == 4:
        return ConvolutionalMap(network, channels_last=getattr(network, "output_fmt", "") == "NHWC"), _num_features(network)
    if found.ndim == 3:
        tokens = TokenMap(network)
        if math.isqrt(found.shape[1] - tokens.num_prefix) ** 2 == found.shape[1] - tokens.num_prefix:
            return tokens, _num_features(network) * (2 if tokens.has_class_token else 1)
    raise ImageLoopError(
        f"training.model.backbone: expected features that are a map or a token a patch, got {tuple(found.shape[1:])} of '{name}'; "
        "choose a convolutional network or a vision transformer"
    )


def _forward_features(network: nn.Module) -> Callable[[Tensor], Tensor]:
    forward: Callable[[Tensor], Tensor] = getattr(network, "forward_features")  # noqa: B009 - timm's, unknown to nn.Module
    return forward


def _num_features(network: nn.Module) -> int:
    number: int = vars(network)["num_features"]
    return number
