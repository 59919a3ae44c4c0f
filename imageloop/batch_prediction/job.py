"""What a batch prediction makes of which images: its parts, and the folder that holds them."""

import hashlib
import io
import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from imageloop.batch_prediction.settings import BatchPredictionSettings, is_address
from imageloop.errors import ImageLoopError, SettingsError
from imageloop.model.predictor import Predictor
from imageloop.shared_folder import SharedFolder

JOB_FILE = "_job.json"  # readers of Parquet skip names that begin with an underscore
FORMAT = 1  # of the columns; another number: no earlier part is kept


@dataclass(frozen=True)
class BatchJob:
    """The images and the model of a batch prediction. `digest` changes with everything that the predictions depend on."""

    digest: str
    model_name: str
    model_version: str
    precision: str
    class_names: list[str]
    num_images: int
    part_images: int

    @classmethod
    def of(cls, images: pd.DataFrame, settings: BatchPredictionSettings, predictor: Predictor, version: str) -> "BatchJob":
        """The job of listed images. A file of another size or time makes another job."""
        digest = hashlib.sha256(pd.util.hash_pandas_object(images.astype(str), index=False).to_numpy().tobytes())
        facts = (settings.model_name, version, predictor.precision, settings.part_images, settings.max_sampled, FORMAT)
        digest.update(json.dumps(facts).encode())
        return cls(
            digest.hexdigest()[:16], settings.model_name, version, predictor.precision, predictor.info.class_names, len(images),
            settings.part_images,
        )  # fmt: skip

    @property
    def parts(self) -> dict[str, slice]:
        """The name of each part, and the rows of the list of images that it holds."""
        starts = range(0, self.num_images, self.part_images)
        return {f"part-{number:05d}.parquet": slice(start, start + self.part_images) for number, start in enumerate(starts)}


def open_output(address: str, job: BatchJob) -> SharedFolder:
    """The folder of a job's parts, new or with parts of the same job.

    Raises: ImageLoopError for a folder that holds anything else, or cannot be written.
    """
    if not is_address(address) and Path(address).is_file():
        raise SettingsError(f"output: expected a folder, got the file '{address}'; name a folder")
    output = SharedFolder(address, "write predictions", "output")
    names = [name for name in output.names("") if not name.startswith(".")]  # a killed process leaves what it wrote aside
    if JOB_FILE in names:
        held = _read_json(output, JOB_FILE)
        if held.get("digest") != job.digest:
            raise ImageLoopError(
                f"output: expected a new folder or one with predictions of the same images by the same model, got '{address}' with "
                f"{held.get('num_images')} images by {held.get('model_name')} {held.get('model_version')}; name another, or remove it"
            )
    elif names:
        raise ImageLoopError(f"output: expected a new folder, got '{address}' with {names[0]} in it; name another, or remove it")
    else:
        write(output, JOB_FILE, json.dumps(asdict(job), indent=2).encode())
    return output


def _read_json(output: SharedFolder, name: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(output.read([name])[name])
    return values


def write(output: SharedFolder, name: str, content: bytes) -> None:
    """Write a small file to the output: whole, or not at all."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, name)
        file.write_bytes(content)
        output.publish(file)


def read_part(output: SharedFolder, name: str) -> pd.DataFrame:
    """One part of the output as a table.

    Raises: ImageLoopError for one that is gone or damaged.
    """
    content = output.read([name]).get(name)
    if content is None:
        raise ImageLoopError(f"expected '{name}' in '{output.url}', got none: it was removed; the same command predicts it again")
    try:
        return pd.read_parquet(io.BytesIO(content))
    except Exception as error:
        raise ImageLoopError(
            f"expected a Parquet file in '{output.url}/{name}', got {error}; remove it: the same command predicts it again"
        ) from error
