"""Predict the images of a job part by part; each part is a Parquet file that is written whole.

Shapes: N images of a part, K classes, D features, S pixels a side.
"""

import io
import itertools
import socket
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from imageloop import progress
from imageloop.batch_prediction.input_images import read_content
from imageloop.batch_prediction.job import BatchJob, sampled_rows, write
from imageloop.batch_prediction.settings import is_address
from imageloop.data.decoding import decode_one
from imageloop.data.image_opening import Container
from imageloop.data.image_statistics import NAMES, image_statistics
from imageloop.data.preprocessing import UInt8Array, resize_and_crop
from imageloop.embeddings.novelty import Novelty
from imageloop.engine import Engine
from imageloop.errors import ImageLoopError, ImageRefusedError
from imageloop.model.package import BATCH
from imageloop.model.predictor import Predictor
from imageloop.shared_folder import SharedFolder
from imageloop.usable_cores import usable_cores

GROUP = 4 * BATCH  # images that go through the model at once
GROUPS_AHEAD = 3  # that are read and decoded meanwhile
READERS_OF_STORAGE = 16  # a request to a bucket waits longer than its image takes to decode
EMBEDDING = "embedding"
UNREADABLE = "unreadable"


@dataclass(frozen=True)
class PartsDone:
    """How many parts and images were predicted now; the others were there already."""

    parts: int
    images: int
    kept_parts: int


@dataclass(frozen=True)
class BatchModel:
    """What predicts: the model, and its novelty reference where the package has one."""

    predictor: Predictor
    novelty: Novelty | None


@dataclass(frozen=True)
class _Decoded:
    image_SSC: UInt8Array
    container: Container


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
    missing = [name for name in job.part_names if name not in present]
    sampled = sampled_rows(len(images), max_sampled)
    parts = [_part(name, images, job, sampled) for name in missing]
    num_images = sum(len(part.paths) for part in parts)
    columns = {"model_name": job.model_name, "model_version": job.model_version, "precision": job.precision, "run": run}
    with progress.counted("predict", len(images)) as advance:
        advance(len(images) - num_images)
        task = PredictPart(model, columns, advance if engine.is_this_process else None)
        for number, content in engine.map(task, parts):
            write(output, parts[number].name, content)
            if not engine.is_this_process:
                advance(len(parts[number].paths))
    return PartsDone(len(parts), num_images, len(job.part_names) - len(parts))


def _part(name: str, images: pd.DataFrame, job: BatchJob, sampled: set[int]) -> Part:
    rows = job.rows_of(name)
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


@dataclass
class _Columns:
    """The columns of a part, filled row by row; a refused image has a reason and no prediction."""

    paths: list[str]
    class_names: list[str]
    num_done: int = 0
    containers: list[Container | None] = field(default_factory=list)
    refusals: list[ImageRefusedError | None] = field(default_factory=list)
    embeddings: list[NDArray[np.float32] | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        count = len(self.paths)
        self.probabilities_NK = np.full((count, len(self.class_names)), np.nan, np.float32)
        self.novelty_N = np.full(count, np.nan, np.float32)
        self.statistics_NS = np.full((count, len(NAMES)), np.nan, np.float32)

    def as_table(self, limit: float | None) -> pa.Table:
        """`limit`: the novelty beyond which an image is out of distribution; None without a reference."""
        refused_N = np.array([refusal is not None for refusal in self.refusals], bool)
        best_N = np.where(refused_N, 0, np.nan_to_num(self.probabilities_NK).argmax(1)) if len(refused_N) else np.empty(0, int)
        no_novelty_N, no_statistics_N = np.isnan(self.novelty_N), np.isnan(self.statistics_NS[:, 0])
        top_N = self.probabilities_NK[np.arange(len(best_N)), best_N]
        columns: dict[str, Any] = {
            "path": pa.array(self.paths, pa.string()),
            "label": pa.array([self.class_names[place] for place in best_N], pa.string(), mask=refused_N),
            "probability": pa.array(top_N, pa.float32(), mask=refused_N),
            "novelty": pa.array(self.novelty_N, pa.float32(), mask=no_novelty_N),
            "in_distribution": pa.array(
                self.novelty_N <= (limit if limit is not None else np.inf), pa.bool_(), mask=no_novelty_N
            ),
            "reason": pa.array([refusal and refusal.reason for refusal in self.refusals], pa.string()),
            "detail": pa.array([refusal and refusal.detail for refusal in self.refusals], pa.string()),
            "width": pa.array([one and one.width for one in self.containers], pa.int32()),
            "height": pa.array([one and one.height for one in self.containers], pa.int32()),
            "format": pa.array([one and one.format for one in self.containers], pa.string()),
        }
        for place, name in enumerate(self.class_names):
            columns[f"p_{name}"] = pa.array(self.probabilities_NK[:, place], pa.float32(), mask=refused_N)
        for place, name in enumerate(NAMES):
            columns[name] = pa.array(self.statistics_NS[:, place], pa.float32(), mask=no_statistics_N)
        columns[EMBEDDING] = pa.array(self.embeddings, pa.list_(pa.float32()))
        return pa.table(columns)


def predict_table(paths: Sequence[str], sampled: set[int], model: BatchModel, advance: Callable[[int], None]) -> pa.Table:
    """The rows of these images; those of `sampled` carry their embedding and statistics. `advance` takes the number of rows done."""
    predictor, novelty = model.predictor, model.novelty
    columns = _Columns(list(paths), predictor.info.class_names)
    with closing(_decoded(paths, predictor)) as groups:
        for group in groups:
            _fill(columns, group, sampled, predictor, novelty)
            advance(len(group))
    return columns.as_table(novelty.limit if novelty else None)


def _fill(
    columns: _Columns, group: list[_Decoded | ImageRefusedError], sampled: set[int], predictor: Predictor, novelty: Novelty | None
) -> None:
    first = columns.num_done
    rows = [first + place for place, one in enumerate(group) if isinstance(one, _Decoded)]
    usable = [one for one in group if isinstance(one, _Decoded)]
    embeddings: dict[int, NDArray[np.float32]] = {}
    if usable:
        found = predictor.predict(np.stack([one.image_SSC for one in usable]))
        columns.probabilities_NK[rows] = found.probabilities
        if novelty is not None:
            columns.novelty_N[rows] = novelty.distance(found.embeddings)
        for place, row in enumerate(rows):
            if row in sampled:
                embeddings[row] = found.embeddings[place]
                columns.statistics_NS[row] = image_statistics(usable[place].image_SSC[None])[0]
    for place, one in enumerate(group):
        columns.containers.append(one.container if isinstance(one, _Decoded) else None)
        columns.refusals.append(one if isinstance(one, ImageRefusedError) else None)
        columns.embeddings.append(embeddings.get(first + place))
    columns.num_done += len(group)


def _decoded(paths: Sequence[str], predictor: Predictor) -> Generator[list[_Decoded | ImageRefusedError]]:
    """Groups of images in order, refusals included; a few groups are read and decoded while the model computes."""
    side, limits = predictor.info.side_pixels, predictor.limits

    def decode(path: str) -> _Decoded | ImageRefusedError:
        try:
            content = read_content(path, limits.max_bytes)
            image, container = decode_one(content, side, limits)
        except ImageRefusedError as error:
            return error
        except MemoryError:
            raise
        except Exception as error:  # each storage has errors of its own
            return ImageRefusedError(
                "unreadable", f"cannot be read ({getattr(error, 'strerror', None) or error or type(error).__name__})"
            )
        return _Decoded(resize_and_crop(image, side), container)

    threads = max(usable_cores(), READERS_OF_STORAGE if any(map(is_address, paths)) else 1)
    waiting: deque[list[Future[_Decoded | ImageRefusedError]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for group in itertools.batched(paths, GROUP):
                waiting.append([pool.submit(decode, path) for path in group])
                if len(waiting) > GROUPS_AHEAD:
                    yield [future.result() for future in waiting.popleft()]
            while waiting:
                yield [future.result() for future in waiting.popleft()]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
