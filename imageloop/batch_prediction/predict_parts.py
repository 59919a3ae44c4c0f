"""Predict the images of a job part by part; each part is a Parquet file that is written whole."""

import io
import socket
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from imageloop import progress
from imageloop.batch_prediction.job import BatchJob, write
from imageloop.batch_prediction.part_table import UNREADABLE, BatchModel, predict_table
from imageloop.embeddings.novelty import Novelty
from imageloop.errors import ImageLoopError
from imageloop.evenly_spaced import evenly_spaced
from imageloop.execution_engine import Engine
from imageloop.model.predictor import Predictor
from imageloop.shared_folder import SharedFolder


@dataclass(frozen=True)
class PartsDone:
    """How many parts and images were predicted now; the others were there already."""

    parts: int
    images: int
    kept_parts: int


@dataclass(frozen=True)
class PackageFiles:
    """A model package on its way to another machine: its files by name, and the key that its signature is verified with."""

    files: dict[str, bytes]
    key: bytes
    exact: bool

    @classmethod
    def of(cls, folder: Path, key: Path, *, exact: bool) -> "PackageFiles":
        return cls(
            {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()},
            key.read_bytes(),
            exact,
        )

    def open(self, cores: int) -> BatchModel:
        """Verify and load it. Raises: SignatureError, PackageError."""
        with tempfile.TemporaryDirectory() as scratch:
            folder, key = Path(scratch, "package"), Path(scratch, "key.pub")
            key.write_bytes(self.key)
            for name, content in self.files.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content)
            return BatchModel(Predictor.load(folder, key, cores, exact=self.exact), Novelty.read(folder))


@dataclass(frozen=True)
class Part:
    """The images of one Parquet file, and which of their rows are sampled."""

    name: str
    paths: list[str]
    sampled: set[int]


@dataclass(frozen=True)
class PredictPart:
    """The task of an engine: from a part to its Parquet file. `model`: open here, or files for a worker elsewhere."""

    model: BatchModel | PackageFiles
    columns: dict[str, str]
    advance: Callable[[int], None] | None = None

    def open(self, cores: int) -> Callable[[Part], bytes]:
        model = self.model.open(cores) if isinstance(self.model, PackageFiles) else self.model
        return lambda part: self._predict(part, model)

    def _predict(self, part: Part, model: BatchModel) -> bytes:
        table = predict_table(part.paths, part.sampled, model, self.advance or (lambda _: None))
        _refuse_unreadable(part, table)
        for column, value in self.columns.items():
            table = table.append_column(column, pa.repeat(value, len(table)).dictionary_encode())
        return _as_parquet(table)


def predict_parts(
    images: pd.DataFrame,
    job: BatchJob,
    model: BatchModel | PackageFiles,
    output: SharedFolder,
    max_sampled: int,
    run: str,
    engine: Engine,
) -> PartsDone:
    """Predict what the output has no part of yet. `model`: files where the engine is elsewhere. `run`: the name that the rows carry.

    Raises: ImageLoopError where a worker can read no image of its part.
    """
    present = set(output.names(".parquet"))
    sampled = set(evenly_spaced(len(images), max_sampled).tolist())
    parts = [_part(name, images, rows, sampled) for name, rows in job.parts.items() if name not in present]
    num_images = sum(len(part.paths) for part in parts)
    columns = {"model_name": job.model_name, "model_version": job.model_version, "precision": job.precision, "run": run}
    with progress.counted("predict", num_images) as advance:
        task = PredictPart(model, columns, advance if engine.is_this_process else None)
        for number, content in engine.map(task, parts):
            write(output, parts[number].name, content)
            if not engine.is_this_process:
                advance(len(parts[number].paths))
    return PartsDone(len(parts), num_images, len(job.parts) - len(parts))


def _part(name: str, images: pd.DataFrame, rows: slice, sampled: set[int]) -> Part:
    paths = images["path"].iloc[rows].tolist()
    return Part(name, paths, {row for row in range(len(paths)) if rows.start + row in sampled})


def _refuse_unreadable(part: Part, table: pa.Table) -> None:
    """Raises: ImageLoopError where no image could be read: on another machine, where a disk is gone, or without rights."""
    if len(part.paths) > 1 and all(reason == UNREADABLE for reason in table["reason"].to_pylist()):
        raise ImageLoopError(
            f"expected images that this machine ({socket.gethostname()}) can read, got none of the {len(part.paths)} of '{part.name}': "
            f"{part.paths[0]} {table['detail'][0].as_py()}; use an address that every machine can read, or restore the files"
        )


def _as_parquet(table: pa.Table) -> bytes:
    content = io.BytesIO()
    pq.write_table(table, content, compression="zstd")
    return content.getvalue()
