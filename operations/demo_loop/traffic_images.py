"""The images that the demo loop sends: such as the model was trained on, and changed ones."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from imageloop.data.settings import Drift
from imageloop.data.sources.draw_animals import draw_image
from imageloop.data.sources.folder import list_files
from imageloop.data.sources.generated import label_of
from imageloop.errors import SettingsError

SEED = 20_260_101  # none of the images that the model was trained on
BLUR_PIXELS, BRIGHTNESS, QUALITY = 2.5, 0.4, 8
MIN_IMAGES = 200  # of which half train the first model


class ImageStream(Protocol):
    def image(self, number: int) -> tuple[str, bytes]:
        """Return a class and the file of an image of it; the same number gives the same image."""
        ...


@dataclass(frozen=True)
class DrawnImages:
    """Cats and dogs as the embedded data set draws them; `drift` changes them."""

    drift: Drift

    def image(self, number: int) -> tuple[str, bytes]:
        label = label_of(number, self.drift.first_class_share)
        return label, _jpeg(draw_image(label, (SEED, number), self.drift), 70 + number % 26)


@dataclass(frozen=True)
class PhotographedImages:
    """The user's own files, one after the other; `changed`: blurred, darkened, and saved at low JPEG quality."""

    files: tuple[tuple[str, Path], ...]
    changed: bool = False

    def image(self, number: int) -> tuple[str, bytes]:
        label, file = self.files[number % len(self.files)]
        if not self.changed:
            return label, file.read_bytes()  # small images that are saved anew are changed images
        with Image.open(file) as opened:
            image = opened.convert("RGB")
        blurred = image.filter(ImageFilter.GaussianBlur(BLUR_PIXELS))
        return label, _jpeg(ImageEnhance.Brightness(blurred).enhance(BRIGHTNESS), QUALITY)


def drawn_images() -> tuple[ImageStream, ImageStream]:
    """Unchanged images, and changed ones."""
    return DrawnImages(Drift()), DrawnImages(Drift(style="outlined", darkness=0.2, blur_pixels=2.0))


def photographed_images(data: Path, training_folder: Path) -> tuple[ImageStream, ImageStream]:
    """Unchanged and changed, from half of the images in `data`; the other half is linked into the folder `training_folder`.

    Raises: SettingsError for too few images.
    """
    by_label: dict[str, list[Path]] = {}
    for file in list_files(data):
        if file.label is not None:
            by_label.setdefault(file.label, []).append(file.path.absolute())
    if len(by_label) < 2 or sum(map(len, by_label.values())) < MIN_IMAGES:
        counts = {label: len(files) for label, files in by_label.items()}
        raise SettingsError(f"--data: expected {MIN_IMAGES} images or more of two classes or more, got {counts}")
    sent = []
    for label, files in by_label.items():
        (training_folder / label).mkdir(parents=True)
        for path in files[::2]:
            (training_folder / label / path.name).symlink_to(path)
        sent += [(label, path) for path in files[1::2]]
    shuffled = tuple(sent[place] for place in np.random.default_rng(SEED).permutation(len(sent)))
    return PhotographedImages(shuffled), PhotographedImages(shuffled, changed=True)


def _jpeg(image: Image.Image, quality: int) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()
