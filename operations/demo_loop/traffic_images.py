"""The pictures that visitors send: of a world that the model knows, and of the same world changed."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from imageloop.data.settings import Drift
from imageloop.data.sources.draw_animals import draw_picture
from imageloop.data.sources.folder import list_files
from imageloop.data.sources.generated import label_of
from imageloop.errors import SettingsError

SEED = 20_260_101  # none of the pictures that the model was made of
BLUR_PIXELS, BRIGHTNESS, QUALITY = 2.5, 0.4, 8
MIN_PICTURES = 200  # of which half teach the first model


class World(Protocol):
    def picture(self, number: int) -> tuple[str, bytes]:
        """A class, and a JPEG of it; the same number gives the same picture."""
        ...


@dataclass(frozen=True)
class DrawnWorld:
    """Cats and dogs as the embedded data set draws them, or otherwise."""

    drift: Drift

    def picture(self, number: int) -> tuple[str, bytes]:
        label = label_of(number, self.drift.first_class_share)
        return label, _jpeg(draw_picture(label, (SEED, number), self.drift), 70 + number % 26)


@dataclass(frozen=True)
class PhotographedWorld:
    """Somebody's own pictures, one after the other; `damaged`: out of focus, in the dark, and saved with little care."""

    files: tuple[tuple[str, Path], ...]
    damaged: bool = False

    def picture(self, number: int) -> tuple[str, bytes]:
        label, file = self.files[number % len(self.files)]
        with Image.open(file) as opened:
            image = opened.convert("RGB")
        if not self.damaged:
            return label, _jpeg(image, 70 + number % 26)
        blurred = image.filter(ImageFilter.GaussianBlur(BLUR_PIXELS))
        return label, _jpeg(ImageEnhance.Brightness(blurred).enhance(BRIGHTNESS), QUALITY)


def drawn_worlds() -> tuple[World, World]:
    """Known, and changed."""
    return DrawnWorld(Drift()), DrawnWorld(Drift(style="outlined", darkness=0.2))


def photographed_worlds(data: Path, taught: Path) -> tuple[World, World]:
    """Known, and changed, of half of the pictures in `data`; the other half is linked into the folder `taught`.

    Raises: SettingsError for too few pictures.
    """
    by_label: dict[str, list[Path]] = {}
    for file in list_files(data):
        if file.label is not None:
            by_label.setdefault(file.label, []).append(file.path.absolute())
    if len(by_label) < 2 or sum(map(len, by_label.values())) < MIN_PICTURES:
        counts = {label: len(files) for label, files in by_label.items()}
        raise SettingsError(f"--data: wanted {MIN_PICTURES} pictures or more of two classes or more, found {counts}")
    sent = []
    for label, files in by_label.items():
        (taught / label).mkdir(parents=True)
        for path in files[::2]:
            (taught / label / path.name).symlink_to(path)
        sent += [(label, path) for path in files[1::2]]
    shuffled = tuple(sent[place] for place in np.random.default_rng(SEED).permutation(len(sent)))
    return PhotographedWorld(shuffled), PhotographedWorld(shuffled, damaged=True)


def _jpeg(image: Image.Image, quality: int) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()
