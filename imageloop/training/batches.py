"""Batches for training: rows of features, or augmented images, in another order each epoch."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imageloop.data.preprocessing import UInt8Array
from imageloop.training.devices import Device
from imageloop.training.loop_settings import LoopOnImages
from imageloop.training.training_loop import Batches


@dataclass(frozen=True)
class Drawn:
    """The last `num_rows` rows, of which an epoch has `share`."""

    num_rows: int
    share: float

    @property
    def number(self) -> int:
        return round(self.share * self.num_rows)


NONE_DRAWN = Drawn(0, 0.0)


def rows_in_batches(rows_ND: Tensor, targets_N: Tensor, size: int, seed: int, drawn: Drawn = NONE_DRAWN) -> Batches:
    """Rows in another order each epoch: all of them, and of those that are drawn other ones each time."""
    always = len(targets_N) - drawn.num_rows

    def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        others = always + _shuffled(drawn.num_rows, seed, epoch)[: drawn.number]
        rows = torch.cat([torch.arange(always), others])
        for chosen in torch.split(rows[_shuffled(len(rows), seed, epoch)], size):
            yield rows_ND[chosen], targets_N[chosen]

    return batches


def images_in_batches(
    read: Callable[[list[int]], UInt8Array],
    targets_N: NDArray[np.int64],
    loop: LoopOnImages,
    num_classes: int,
    seed: int,
    device: Device,
) -> Batches:
    """Images in another order each epoch, augmented where they are needed; a last batch that is not full is left out, for the batch norms.

    `read`: the images of these numbers, (B, S, S, 3). Where the loop mixes images, the targets of a batch are (B, K).
    """
    from imageloop.training.augmentation import augment, augmentation, mixing  # torchvision takes a second to load

    transform, mix, size = augmentation(), mixing(loop, num_classes), loop.batch_size

    def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        chunks = torch.split(_shuffled(len(targets_N), seed, epoch), size)
        for chosen in chunks[:-1] if len(chunks) > 1 and len(chunks[-1]) < size else chunks:
            images_BHWC = torch.from_numpy(read(chosen.tolist()))
            yield augment(images_BHWC.to(device), torch.from_numpy(targets_N[chosen.numpy()]).to(device), transform, mix)

    return batches


def _shuffled(count: int, seed: int, epoch: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed * 100_003 + epoch))
