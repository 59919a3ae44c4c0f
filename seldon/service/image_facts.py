"""What a record says of an image: hash, size, format and statistics, and not the image."""

import hashlib
import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from imageloop.data.image_checks import Container
from imageloop.data.image_statistics import NAMES, rows_for_statistics, statistics_of_rows
from imageloop.data.preprocessing import UInt8Array

Facts = Callable[[], dict[str, Any]]  # what a record holds of an image, computed when the record is made


def as_file(content: bytes | np.ndarray) -> bytes:
    """Pixels become a PNG."""
    if isinstance(content, bytes):
        return content
    out = io.BytesIO()
    Image.fromarray(content).save(out, "PNG")
    return out.getvalue()


def facts_of(content: bytes | np.ndarray, image_SSC: UInt8Array, container: Container | None) -> Facts:
    """Return hash, size, format and statistics of an image, and hold neither the image nor the file."""
    data = content if isinstance(content, bytes) else content.tobytes()
    facts: dict[str, Any] = {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
    if container is not None:
        facts |= container._asdict()
    rows = rows_for_statistics(image_SSC)

    def complete() -> dict[str, Any]:
        statistics = [round(value, 4) for value in statistics_of_rows(rows).tolist()]
        return facts | {"statistics": dict(zip(NAMES, statistics, strict=True))}

    return complete
