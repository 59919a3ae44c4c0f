"""Augmentation: random changes that leave the class as it is, drawn anew for each image and epoch.

torchvision's own transforms change a whole batch alike, and take several times as long for one image after the other, on a GPU more
than the network does (`make bench-gpu`). These change each image of a batch by itself, where the batch lies.

Shapes: B images of S x S pixels.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2

from imageloop.training.loop_settings import LoopOnImages

Mix = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
GREY = (0.299, 0.587, 0.114)  # ITU-R 601, as in torchvision
TO_YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))


def augmentation() -> v2.Compose:
    """Another crop, mirrored or not, in another light. (B, 3, S, S) float32 in 0 to 255 -> the same."""
    return v2.Compose(
        [
            EachResizedCrop(scale=(0.5, 1.0), ratio=(0.8, 1.25), mirrored=0.5),
            EachColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.03, share=0.8),
        ]
    )


def mixing(loop: LoopOnImages, num_classes: int) -> Mix | None:
    """What mixes the images of a batch: mixup, CutMix, or one of them by chance; None where the loop mixes none."""
    mixes: list[v2.Transform] = []
    if loop.mixup_alpha:
        mixes.append(v2.MixUp(alpha=loop.mixup_alpha, num_classes=num_classes))
    if loop.cutmix_alpha:
        mixes.append(v2.CutMix(alpha=loop.cutmix_alpha, num_classes=num_classes))
    return v2.RandomChoice(mixes) if mixes else None


def augment(images_BSSC: Tensor, targets_B: Tensor, transform: v2.Transform, mix: Mix | None) -> tuple[Tensor, Tensor]:
    """Shapes: (B, S, S, 3) uint8 and (B,) -> images of the same shape, and targets (B,), or (B, K) where images are mixed."""
    changed_BCSS: Tensor = transform(images_BSSC.permute(0, 3, 1, 2).float())
    if mix is not None:
        changed_BCSS, targets_B = mix(changed_BCSS, targets_B)
    return changed_BCSS.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous(), targets_B


class EachResizedCrop(v2.Transform):
    """v2.RandomResizedCrop to the size that the images have, and v2.RandomHorizontalFlip, for each image by itself."""

    def __init__(self, scale: tuple[float, float], ratio: tuple[float, float], mirrored: float) -> None:
        super().__init__()
        self.scale, self.ratio, self.mirrored = scale, ratio, mirrored

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """The part of each image to see as shares of its sides, (B,), and whether it is seen in a mirror."""
        count = len(flat_inputs[0])
        area = torch.empty(count).uniform_(*self.scale)
        ratio = torch.empty(count).uniform_(math.log(self.ratio[0]), math.log(self.ratio[1])).exp()
        width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
        return {
            "width": width,
            "height": height,
            "left": torch.rand(count) * (1 - width),
            "top": torch.rand(count) * (1 - height),
            "mirror": torch.rand(count) < self.mirrored,
        }

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        sides = torch.where(params["mirror"], -params["width"], params["width"])
        places = torch.zeros(len(inpt), 2, 3)  # of the visible part, in an image that reaches from -1 to 1
        places[:, 0, 0], places[:, 0, 2] = sides, 2 * params["left"] + params["width"] - 1
        places[:, 1, 1], places[:, 1, 2] = params["height"], 2 * params["top"] + params["height"] - 1
        grid_BSS2 = torch.nn.functional.affine_grid(places.to(inpt.device), list(inpt.shape), align_corners=False)
        return torch.nn.functional.grid_sample(inpt, grid_BSS2, padding_mode="border", align_corners=False)


class EachColorJitter(v2.Transform):
    """v2.ColorJitter for each image by itself, in one order; a share of the images stays as it is.

    Each of its changes is linear in a pixel's colours, so all of them are one matrix an image. The hue is turned in the YIQ space.
    """

    def __init__(self, brightness: float, contrast: float, saturation: float, hue: float, share: float) -> None:
        super().__init__()
        self.brightness, self.contrast, self.saturation, self.hue, self.share = brightness, contrast, saturation, hue, share

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Factors around 1 and the turn of the hue in radians, (B,)."""
        count = len(flat_inputs[0])
        changed = torch.rand(count) < self.share

        def around(middle: float, width: float) -> Tensor:
            return torch.where(changed, torch.empty(count).uniform_(middle - width, middle + width), middle)

        return {
            "brightness": around(1, self.brightness),
            "contrast": around(1, self.contrast),
            "saturation": around(1, self.saturation),
            "hue": around(0, 2 * math.pi * self.hue),
        }

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        grey_3, to_yiq_33 = torch.tensor(GREY), torch.tensor(TO_YIQ)
        gain_B, contrast_B = params["brightness"], params["contrast"]
        turn_B33 = torch.zeros(len(gain_B), 3, 3)
        turn_B33[:, 0, 0] = 1
        turn_B33[:, 1, 1] = turn_B33[:, 2, 2] = params["hue"].cos()
        turn_B33[:, 1, 2] = params["hue"].sin()
        turn_B33[:, 2, 1] = -turn_B33[:, 1, 2]
        saturation_B11 = params["saturation"][:, None, None]
        saturate_B33 = saturation_B11 * torch.eye(3) + (1 - saturation_B11) * grey_3.expand(3, 3)
        colours_B33 = to_yiq_33.inverse() @ turn_B33 @ to_yiq_33 @ saturate_B33 * (gain_B * contrast_B)[:, None, None]

        mean_B = (inpt.mean((2, 3)) @ grey_3.to(inpt.device)) * (gain_B * (1 - contrast_B)).to(inpt.device)
        flat_B3P = inpt.flatten(2)
        return torch.baddbmm(mean_B[:, None, None], colours_B33.to(inpt.device), flat_B3P).reshape(inpt.shape)
