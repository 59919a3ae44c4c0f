"""The model package: the folder that is registered, shipped and served, and nothing else ever is.

model.onnx         pictures in; probabilities, embedding and class activation map out
model.int8.onnx    the same, quantised, only if it passed its gate
weights.pt         the state dict of the torch model, readable with weights_only=True
model.json         PackageInfo
examples.json      known pictures and what the model says of them: what a new server is asked first
reference.parquet  what the model saw and said when it was made: what drift is measured against
familiar.npz       how known pictures look to the model: what a server calls unfamiliar lies far from all of them
signature          over all of it
"""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from imageloop.atomic_files import replacing
from imageloop.errors import ImageLoopError
from imageloop.model.signing import SIGNATURE, verify

EXACT_MODEL = "model.onnx"
INT8_MODEL = "model.int8.onnx"
WEIGHTS = "weights.pt"
INFO = "model.json"
REFERENCE = "reference.parquet"
INPUT = "images"
OUTPUTS = ("probabilities", "embedding", "activation_map")
BATCH = 8  # pictures a run: what two cores take best
REQUIRED_FILES = (EXACT_MODEL, WEIGHTS, INFO, REFERENCE, SIGNATURE)


class PackageError(ImageLoopError):
    """A folder that is no usable package."""


class PackageInfo(BaseModel):
    """What a package says of itself. Read by every later version of the program: fields are only added."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format_version: int = 1
    class_names: list[str] = Field(min_length=2)
    side_pixels: int = Field(ge=8)
    preprocessing_version: str
    model_kind: str
    backbone: str
    temperature: float = Field(gt=0)
    seed: int
    data_version: str
    git_commit: str
    run_id: str
    created_at: datetime
    metrics: dict[str, Any] = {}
    thresholds: dict[str, Any] = {}

    def write(self, folder: Path) -> None:
        with replacing(folder / INFO) as aside:
            aside.write_text(self.model_dump_json(indent=2) + "\n")


def open_package(folder: Path, key: Path) -> PackageInfo:
    """Verify the signature and every file's hash, and only then read what the package says of itself.

    Raises: PackageError for a folder that lacks a file, SignatureError for one that was changed.
    """
    missing = [name for name in REQUIRED_FILES if not (folder / name).is_file()]
    if missing:
        raise PackageError(
            f"wanted a model package in '{folder}', found no {', '.join(missing)}; train again or restore the package"
        )
    verify(folder, key)
    return read_info(folder)


def read_info(folder: Path) -> PackageInfo:
    """Raises: PackageError if model.json does not say what it should."""
    try:
        return PackageInfo.model_validate(json.loads((folder / INFO).read_text()))
    except (OSError, ValueError, ValidationError) as error:
        raise PackageError(f"wanted the description of a model in '{folder / INFO}', found: {error}") from error


def size_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
