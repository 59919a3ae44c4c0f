"""The model package: the folder that is registered, shipped and served.

model.onnx         images in; probabilities, embedding and class activation map out
model.int8.onnx    the same, quantised, only if it passed its gate
model.fp16.onnx    the same in half precision, for GPUs, where the settings ask for it and it passed its gate
weights.pt         the state dict of the torch model, readable with weights_only=True
model.json         PackageInfo
examples.json      smoke-test images with their predictions
test_images.parquet  labelled test images, which a rollout sends to the served version
reference.parquet  predictions, embeddings and statistics that drift is measured against
novelty.npz        embeddings of training images, from which the distance of an image is measured
training_examples.npz  embeddings, classes and thumbnails of training images, where the settings ask for them
accuracy_estimator.npz  estimates accuracy without labels: known embeddings with classes, small heads, a logistic model
model_card.md      for people
signature          over all files
"""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from imageloop.atomic_files import replacing
from imageloop.data.settings import Limits
from imageloop.errors import ImageLoopError
from imageloop.model.signing import SIGNATURE, verify

EXACT_MODEL = "model.onnx"
INT8_MODEL = "model.int8.onnx"
FP16_MODEL = "model.fp16.onnx"
PRECISIONS = {EXACT_MODEL: "fp32", INT8_MODEL: "int8", FP16_MODEL: "fp16"}
WEIGHTS = "weights.pt"
INFO = "model.json"
REFERENCE = "reference.parquet"
MODEL_CARD = "model_card.md"
INPUT = "images"
OUTPUTS = ("probabilities", "embedding", "activation_map")
JOINED_BY = "+"  # between the names of backbones whose features are used together
WEIGHTS_MARK = "@"  # between a backbone's architecture and the hash of its weights, where they are the user's own
SHA_DIGITS = 12  # of that hash
BATCH, GPU_BATCH = 8, 32  # images a run: on two cores 8 are fastest
REQUIRED_FILES = (EXACT_MODEL, WEIGHTS, INFO, REFERENCE, SIGNATURE)


class PackageError(ImageLoopError):
    """A folder that is no usable package."""


class PackageInfo(BaseModel):
    """The description of a package. Later releases read it: fields are only added."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format_version: int = 1
    class_names: list[str] = Field(min_length=2)
    side_pixels: int = Field(ge=8)
    preprocessing_version: str
    model_kind: str
    backbone: str
    rehearsal_weight: float = 0.0  # of all rehearsed copies that trained the head, beside all images
    temperature: float = Field(gt=0)
    seed: int
    data_version: str
    git_commit: str
    run_id: str
    created_at: datetime
    metrics: dict[str, Any] = {}
    thresholds: dict[str, Any] = {}
    limits: Limits | None = None  # of the images that training was allowed to read

    def write(self, folder: Path) -> None:
        with replacing(folder / INFO) as aside:
            aside.write_text(self.model_dump_json(indent=2) + "\n")


def open_package(folder: Path, key: Path) -> PackageInfo:
    """Verify the signature and every file's hash, and only then read the description.

    Raises: PackageError for a folder that lacks a file, SignatureError for one that was changed.
    """
    missing = [name for name in REQUIRED_FILES if not (folder / name).is_file()]
    if missing:
        raise PackageError(
            f"expected a model package in '{folder}', got no {', '.join(missing)}; train again or restore the package"
        )
    verify(folder, key)
    return read_info(folder)


def read_info(folder: Path) -> PackageInfo:
    """Read the description. Raises: PackageError if model.json is missing or malformed."""
    try:
        return PackageInfo.model_validate(json.loads((folder / INFO).read_text()))
    except (OSError, ValueError, ValidationError) as error:
        raise PackageError(f"expected the description of a model in '{folder / INFO}', got: {error}") from error


def weights_file(name: str, folder: Path) -> Path:
    """Where the weights of a backbone `architecture@hash` are kept."""
    return folder / f"weights-{name.partition(WEIGHTS_MARK)[2]}.safetensors"


def size_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
