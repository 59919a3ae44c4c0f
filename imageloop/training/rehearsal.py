"""Rehearsed changes: copies of known images as a served model may meet them, on which its accuracy estimator is fitted.

Each image has a few copies, drawn from all changes by its key; the same image has the same copies. Shuffled copies show nothing that a model knows.

Shapes: B images of S x S pixels, D features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from imageloop.data.preprocessing import UInt8Array

if TYPE_CHECKING:
    from torch import Tensor

REHEARSAL_VERSION = "1"  # another number: every copy is made anew
NUM_COPIES = 6
TILES = 4  # of a side; shuffled, they keep colours and textures, and show no object
SHUFFLED = "shuffled"
UNCHANGED, FEEDBACK = "unchanged", "feedback"
Change = Callable[["Tensor", np.random.Generator], "Tensor"]


@dataclass(frozen=True)
class Cell:
    """A rehearsed change in one strength."""

    kind: str
    strength: int


AS_THEY_ARE, FROM_FEEDBACK = Cell(UNCHANGED, 0), Cell(FEEDBACK, 0)


FAMILIES = (  # of kinds that look alike: a head that knows one kind of a family has an easier time with the others
    ("blur", "pixels", "crop"),
    ("noise", "sharpness", "JPEG", "occlusion"),
    ("darkness", "gamma", "contrast", "rotation"),
    ("inversion", "few tones", "saturation"),
)


@cache
def changes() -> dict[Cell, Change]:
    """Every rehearsed change; torchvision is loaded with the first call."""
    from torchvision.transforms.v2 import functional as f

    def plain(function: Callable[..., Any], *arguments: Any) -> Change:
        return lambda image, _: function(image, *arguments)

    pairs: dict[str, tuple[Change, Change]] = {
        "blur": (plain(f.gaussian_blur, [7, 7], [1.5, 1.5]), plain(f.gaussian_blur, [21, 21], [4.0, 4.0])),
        "noise": (partial(_noise, deviation=25.0), partial(_noise, deviation=70.0)),
        "darkness": (plain(f.adjust_brightness, 0.5), plain(f.adjust_brightness, 0.2)),
        "JPEG": (plain(f.jpeg, 20), plain(f.jpeg, 6)),
        "contrast": (plain(f.adjust_contrast, 0.5), plain(f.adjust_contrast, 0.2)),
        "inversion": (plain(f.solarize, 128), plain(f.invert)),
        "crop": (partial(_crop, share=0.7), partial(_crop, share=0.4)),
        "gamma": (plain(f.adjust_gamma, 0.4), plain(f.adjust_gamma, 2.5)),
        "pixels": (partial(_pixels, times=4), partial(_pixels, times=10)),
        "rotation": (partial(_rotation, degrees=30.0), partial(_rotation, degrees=90.0)),
        "occlusion": (partial(_occlusion, share=0.45), partial(_occlusion, share=0.7)),
        "few tones": (plain(f.posterize, 2), plain(f.posterize, 1)),
        "saturation": (plain(f.adjust_saturation, 0.0), plain(f.adjust_saturation, 3.0)),
        "sharpness": (plain(f.adjust_sharpness, 4.0), plain(f.adjust_sharpness, 10.0)),
    }
    return {Cell(kind, strength): change for kind, both in pairs.items() for strength, change in enumerate(both, 1)}


def cells_of(key: str, number_of_cells: int) -> list[int]:
    """The numbers of the changes of an image's copies; they follow from its key."""
    chosen = np.random.default_rng(_seed(key)).choice(number_of_cells, min(NUM_COPIES, number_of_cells), replace=False)
    return [int(cell) for cell in chosen]


def rehearse(keys: Sequence[str], images_BSSC: UInt8Array, copy: int) -> UInt8Array:
    """The copy of this number of every image. Shapes: (B, S, S, 3) uint8 -> the same."""
    all_changes = list(changes().values())
    return np.stack(
        [
            _changed(image_SSC, all_changes[cells_of(key, len(all_changes))[copy]], _seed(key) + copy)
            for key, image_SSC in zip(keys, images_BSSC, strict=True)
        ]
    )


def shuffle(keys: Sequence[str], images_BSSC: UInt8Array) -> UInt8Array:
    """The images with their tiles in another order. Shapes: (B, S, S, 3) uint8 -> the same."""
    shuffled = images_BSSC.copy()
    tile = images_BSSC.shape[1] // TILES
    for image_SSC, key, out_SSC in zip(images_BSSC, keys, shuffled, strict=True):
        for place, origin in enumerate(np.random.default_rng(_seed(key)).permutation(TILES**2)):
            (row, column), (from_row, from_column) = divmod(place, TILES), divmod(int(origin), TILES)
            out_SSC[row * tile : (row + 1) * tile, column * tile : (column + 1) * tile] = image_SSC[
                from_row * tile : (from_row + 1) * tile, from_column * tile : (from_column + 1) * tile
            ]
    return shuffled


def _changed(image_SSC: UInt8Array, change: Change, seed: int) -> UInt8Array:
    import torch

    image_CSS = torch.from_numpy(np.ascontiguousarray(image_SSC)).permute(2, 0, 1).contiguous()
    changed: UInt8Array = change(image_CSS, np.random.default_rng(seed)).permute(1, 2, 0).numpy()
    return changed


def _seed(key: str) -> int:
    return int(key[:12], 16)


def _noise(image_CSS: "Tensor", rng: np.random.Generator, deviation: float) -> "Tensor":
    import torch

    noise_CSS = torch.from_numpy(rng.normal(0, deviation, tuple(image_CSS.shape)).astype(np.float32))
    return (image_CSS.float() + noise_CSS).round().clamp(0, 255).to(torch.uint8)


def _crop(image_CSS: "Tensor", rng: np.random.Generator, share: float) -> "Tensor":
    from torchvision.transforms.v2 import functional as f

    side = image_CSS.shape[-1]
    size = max(1, int(side * share))
    top, left = rng.integers(0, side - size + 1, 2).tolist()
    cropped: Tensor = f.resized_crop(image_CSS, top, left, size, size, [side, side])
    return cropped


def _pixels(image_CSS: "Tensor", _: np.random.Generator, times: int) -> "Tensor":
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as f

    side = image_CSS.shape[-1]
    small = f.resize(image_CSS, [max(1, side // times)] * 2)
    large: Tensor = f.resize(small, [side, side], interpolation=InterpolationMode.NEAREST)
    return large


def _rotation(image_CSS: "Tensor", rng: np.random.Generator, degrees: float) -> "Tensor":
    from torchvision.transforms.v2 import functional as f

    rotated: Tensor = f.rotate(image_CSS, degrees * float(rng.choice([-1, 1])), fill=[127.0])
    return rotated


def _occlusion(image_CSS: "Tensor", rng: np.random.Generator, share: float) -> "Tensor":
    import torch
    from torchvision.transforms.v2 import functional as f

    side = image_CSS.shape[-1]
    size = max(1, int(side * share))
    top, left = rng.integers(0, side - size + 1, 2).tolist()
    colour_C11 = torch.from_numpy(rng.integers(0, 256, (3, 1, 1)).astype(np.uint8))
    covered: Tensor = f.erase(image_CSS, top, left, size, size, colour_C11)
    return covered
