"""Labelled test images in the package: a rollout sends them to the served version, whose accuracy becomes measurable without a caller."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from imageloop.atomic_files import replacing
from imageloop.data.preprocessing import CROP_SHARE, UInt8Array

TEST_IMAGES = "test_images.parquet"
QUALITY = 95  # of a JPEG: a third of the size of a PNG


@dataclass(frozen=True)
class TestImage:
    """`content`: a JPEG that preprocessing makes the model's input of; `right`: whether the exported model predicted `label` when it was evaluated.

    `sha256`: of the original file, which the catalog knows.
    """

    __test__ = False  # pytest would collect the class

    sha256: str
    label: str
    right: bool
    content: bytes


def encode(image_SSC: UInt8Array) -> bytes:
    """Encode a prepared image as a JPEG with full colour resolution, in a frame that preprocessing crops away again.

    Without the frame the service would crop a second time, and predict other pixels than those that were evaluated.
    """
    out = io.BytesIO()
    side = len(image_SSC)
    frame = round(side / CROP_SHARE) - side
    framed = np.pad(image_SSC, [(frame // 2, frame - frame // 2)] * 2 + [(0, 0)], mode="edge")
    Image.fromarray(framed).save(out, "JPEG", quality=QUALITY, subsampling=0)
    return out.getvalue()


def write_test_images(folder: Path, images: Sequence[TestImage]) -> None:
    """Write the images to a package's folder."""
    table = pd.DataFrame([vars(image) for image in images], columns=["sha256", "label", "right", "content"])
    with replacing(folder / TEST_IMAGES) as aside:
        table.to_parquet(aside, index=False)


def read_test_images(folder: Path) -> list[TestImage]:
    """Read the test images of a package; empty where it has none."""
    file = folder / TEST_IMAGES
    if not file.exists():
        return []
    return [TestImage(**{str(key): value for key, value in row.items()}) for row in pd.read_parquet(file).to_dict("records")]
