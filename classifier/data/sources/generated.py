"""The embedded pictures as a folder, like every other source."""

import logging
from pathlib import Path

from PIL import Image

from classifier.data.pictures import in_threads
from classifier.data.settings import GeneratedSource
from classifier.data.sources.drawing import CLASSES, draw_picture
from classifier.files import replacing
from classifier.progress import track

logger = logging.getLogger(__name__)
GOLDEN = 0.6180339887498949  # its multiples spread evenly: any number of pictures has the asked mix of classes


def label_of(index: int, first_class_share: float) -> str:
    return CLASSES[0] if (index + 1) * GOLDEN % 1 < first_class_share else CLASSES[1]


def bring_generated(source: GeneratedSource, downloads: Path) -> Path:
    """Draw every picture as a JPEG into a folder of `downloads`, one folder a class, and return that folder."""
    folder = downloads / "generated"
    with replacing(folder) as aside:
        for label in CLASSES:
            (aside / label).mkdir(parents=True)
        indices = range(source.num_pictures)
        for _ in track(in_threads(lambda index: _save(source, index, aside), indices), "draw", source.num_pictures):
            pass
    return folder


def _save(source: GeneratedSource, index: int, folder: Path) -> None:
    label = label_of(index, source.drift.first_class_share)
    picture: Image.Image = draw_picture(label, (source.seed, index), source.drift)
    picture.save(folder / label / f"{index:06d}.jpg", quality=70 + index % 26)
