"""Changes that leave the class as it is, drawn anew for each picture and epoch."""

from collections.abc import Callable

import torch
from torch import Tensor

Transform = Callable[[Tensor], Tensor]


def augmentation(side: int) -> Transform:
    """Another crop, mirrored or not, in another light. (3, S, S) uint8 -> the same shape."""
    from torchvision.transforms import v2  # takes a second to load

    transform: Transform = v2.Compose(
        [
            v2.RandomResizedCrop(side, scale=(0.5, 1.0), ratio=(0.8, 1.25), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandomApply([v2.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.03)], p=0.8),
        ]
    )
    return transform


def augment(images_BHWC: Tensor, transform: Transform) -> Tensor:
    """Each picture by itself: a transform of a whole batch would change all of it alike."""
    images_BCHW = images_BHWC.permute(0, 3, 1, 2)
    return torch.stack([transform(image) for image in images_BCHW]).permute(0, 2, 3, 1).contiguous()
