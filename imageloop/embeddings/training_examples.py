"""Thumbnails of training images in a package, so that a person sees which of them a new image resembles.

A package has none unless `promotion.export.thumbnails` asks for them: whoever has the package sees these images.

Shapes: N training images, D features.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imageloop.atomic_files import replacing
from imageloop.data.preprocessing import UInt8Array
from imageloop.embeddings.same_scene import unit

EXAMPLES_FILE = "training_examples.npz"
THUMBNAIL_PIXELS, QUALITY = 72, 85
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class SimilarImage:
    """A training image, its class, its cosine distance, and its thumbnail as a JPEG."""

    label: str
    distance: float
    thumbnail: bytes


class TrainingExamples:
    """Embeddings (N, D), labels and thumbnails of some training images."""

    def __init__(self, embeddings_ND: FloatArray, labels: list[str], thumbnails: list[bytes]) -> None:
        self._known_ND, self._labels, self._thumbnails = unit(embeddings_ND), labels, thumbnails

    def nearest(self, embedding_D: FloatArray, count: int) -> list[SimilarImage]:
        """The most similar images, the nearest first."""
        distance_N = 1 - self._known_ND @ unit(embedding_D[None])[0]
        places = np.argsort(distance_N, kind="stable")[:count]
        return [SimilarImage(self._labels[place], float(distance_N[place]), self._thumbnails[place]) for place in places]

    def write(self, folder: Path) -> None:
        """Write them to a package's folder."""
        ends = np.cumsum([len(content) for content in self._thumbnails])
        with replacing(folder / EXAMPLES_FILE) as aside, aside.open("wb") as file:
            np.savez(
                file,
                embeddings=self._known_ND.astype(np.float16),
                labels=np.array(self._labels),
                thumbnails=np.frombuffer(b"".join(self._thumbnails), np.uint8),
                ends=ends,
            )

    @classmethod
    def read(cls, folder: Path) -> "TrainingExamples | None":
        """Read those of a package, None where it has none."""
        file = folder / EXAMPLES_FILE
        if not file.exists():
            return None
        with np.load(file, allow_pickle=False) as content:
            parts = np.split(content["thumbnails"], content["ends"][:-1])
            labels = [str(label) for label in content["labels"]]
            return cls(content["embeddings"].astype(np.float32), labels, [part.tobytes() for part in parts])


def thumbnail(image_SSC: UInt8Array) -> bytes:
    """A small JPEG of a prepared image."""
    out = io.BytesIO()
    small = Image.fromarray(image_SSC).resize((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS), Image.Resampling.LANCZOS)
    small.save(out, "JPEG", quality=QUALITY)
    return out.getvalue()
