"""The embedded images as a folder, like every other source.

    python -m imageloop.data.sources.generated

draws them ahead of the first run.
"""

import hashlib
import logging
from pathlib import Path

from PIL import Image

from imageloop.atomic_files import replacing
from imageloop.code_fingerprint import core_fingerprint
from imageloop.data.ingestion import in_threads
from imageloop.data.raw_folder import held_source
from imageloop.data.settings import GeneratedSource
from imageloop.data.sources.draw_animals import CLASSES, draw_image
from imageloop.progress import track
from imageloop.workspace_paths import Workspace

logger = logging.getLogger(__name__)
GOLDEN = 0.6180339887498949  # its multiples spread evenly: any number of images has the asked mix of classes


def label_of(index: int, first_class_share: float) -> str:
    return CLASSES[0] if (index + 1) * GOLDEN % 1 < first_class_share else CLASSES[1]


def bring_generated(source: GeneratedSource, downloads: Path) -> Path:
    """Draw every image as a JPEG into a folder of `downloads`, one folder a class, and return that folder.

    Images that the same code drew with the same settings are not drawn again.
    """
    folder, mark = downloads / "generated", downloads / "generated.sha256"
    if mark.is_file() and mark.read_text() == _identity(source, folder):
        return folder
    mark.unlink(missing_ok=True)
    with replacing(folder) as aside:
        for label in CLASSES:
            (aside / label).mkdir(parents=True)
        indices = range(source.num_images)
        for _ in track(in_threads(lambda index: _save(source, index, aside), indices), "draw", source.num_images):
            pass
    with replacing(mark) as aside:
        aside.write_text(_identity(source, folder))
    return folder


def _identity(source: GeneratedSource, folder: Path) -> str:
    """A hash of the settings, of the code that draws, and of the files."""
    digest = hashlib.sha256(f"{source.model_dump_json()} {core_fingerprint()}".encode())
    for path in sorted(folder.glob("*/*")):
        digest.update(f"{path.relative_to(folder)}".encode() + path.read_bytes())
    return digest.hexdigest()


def _save(source: GeneratedSource, index: int, folder: Path) -> None:
    label = label_of(index, source.drift.first_class_share)
    image: Image.Image = draw_image(label, (source.seed, index), source.drift)
    image.save(folder / label / f"{index:06d}.jpg", quality=70 + index % 26)


if __name__ == "__main__":
    workspace = Workspace.current()
    with workspace.lock("data"):
        if not held_source(workspace):
            bring_generated(GeneratedSource(), workspace.downloads)
