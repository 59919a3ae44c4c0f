"""What every materializer needs: one file in or out of the artifact store, whichever store that is."""

import hashlib
import io
import json
from contextlib import suppress
from typing import Any

import pandas as pd
from zenml.artifact_stores import BaseArtifactStore

from imageloop import html_pages
from imageloop.data.array_store import CorruptRowError
from imageloop.data.data_report import ImageReader
from imageloop.data.ingestion import prepared_stores
from imageloop.data.preprocessing import UInt8Array
from imageloop.workspace_paths import Workspace

USUAL_SIDE = 224


def write_bytes(store: BaseArtifactStore, path: str, content: bytes) -> None:
    with store.open(path, "wb") as file:
        file.write(content)


def read_bytes(store: BaseArtifactStore, path: str) -> bytes:
    with store.open(path, "rb") as file:
        content: bytes = file.read()
    return content


def write_table(store: BaseArtifactStore, path: str, table: pd.DataFrame) -> None:
    content = io.BytesIO()
    table.to_parquet(content)
    write_bytes(store, path, content.getvalue())


def read_table(store: BaseArtifactStore, path: str) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(read_bytes(store, path)))


def write_json(store: BaseArtifactStore, path: str, values: Any) -> None:
    write_bytes(store, path, as_json(values))


def as_json(values: Any) -> bytes:
    return json.dumps(values).encode()


def read_json(store: BaseArtifactStore, path: str) -> Any:
    return json.loads(read_bytes(store, path))


def hash_of(*parts: bytes | str) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else part)
    return digest.hexdigest()[:32]


def hash_of_table(table: pd.DataFrame) -> str:
    values = pd.util.hash_pandas_object(table.astype(str), index=False).to_numpy()
    return hash_of(",".join(map(str, table.columns)), values.tobytes())


def prepared_images(side: int = USUAL_SIDE) -> ImageReader:
    """Find prepared images for a report, at `side` or another size; a missing one is a grey square, as no report is worth an error."""
    stores = prepared_stores(Workspace.current().prepared, side)

    def read_image(sha256: str) -> UInt8Array:
        for store in stores:
            with suppress(KeyError, OSError, CorruptRowError):
                image: UInt8Array = store.read([sha256])[0]
                return image
        return html_pages.blank(side)

    return read_image
