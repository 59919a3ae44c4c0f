"""The rows of a part: images are read and decoded while the model computes, and each file has one row.

Shapes: N images of a part, K classes, D features, S pixels a side.
"""

import itertools
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from imageloop.batch_prediction.input_images import read_content
from imageloop.batch_prediction.settings import is_address
from imageloop.data.decoding import decode_one
from imageloop.data.image_checks import Container
from imageloop.data.image_statistics import NAMES, image_statistics
from imageloop.data.preprocessing import UInt8Array, resize_and_crop
from imageloop.embeddings.novelty import Novelty
from imageloop.errors import ImageRefusedError
from imageloop.model.package import BATCH
from imageloop.model.predictor import Predictor
from imageloop.usable_cores import usable_cores

GROUP = 4 * BATCH  # images that go through the model at once
GROUPS_AHEAD = 3  # that are read and decoded meanwhile
NOVELTY_ROWS = 256
READERS_OF_STORAGE = 16  # a request to a bucket waits longer than its image takes to decode
EMBEDDING = "embedding"
UNREADABLE = "unreadable"


@dataclass(frozen=True)
class BatchModel:
    """What predicts: the model, and its novelty reference where the package has one."""

    predictor: Predictor
    novelty: Novelty | None


@dataclass(frozen=True)
class _Decoded:
    image_SSC: UInt8Array
    container: Container


@dataclass
class _Columns:
    """The columns of a part, filled row by row; a refused image has a reason and no prediction."""

    paths: list[str]
    class_names: list[str]
    num_done: int = 0
    containers: list[Container | None] = field(default_factory=list)
    refusals: list[ImageRefusedError | None] = field(default_factory=list)
    embeddings: dict[int, NDArray[np.float32]] = field(default_factory=dict)  # by row

    def __post_init__(self) -> None:
        count = len(self.paths)
        self.probabilities_NK = np.full((count, len(self.class_names)), np.nan, np.float32)
        self.novelty_N = np.full(count, np.nan, np.float32)
        self.statistics_NS = np.full((count, len(NAMES)), np.nan, np.float32)

    def measure_novelty(self, novelty: Novelty) -> None:
        """At the end, since beside the model the threads of the two wait for each other; with one thread, since more round otherwise."""
        with threadpool_limits(1):
            for some in itertools.batched(self.embeddings, NOVELTY_ROWS):
                self.novelty_N[list(some)] = novelty.distance(np.stack([self.embeddings[row] for row in some]))

    def as_table(self, sampled: set[int], limit: float) -> pa.Table:
        """`limit`: the novelty beyond which an image is out of distribution."""
        refused_N = np.array([refusal is not None for refusal in self.refusals], bool)
        best_N = np.nan_to_num(self.probabilities_NK).argmax(1)  # 0 where the image was refused
        no_novelty_N, no_statistics_N = np.isnan(self.novelty_N), np.isnan(self.statistics_NS[:, 0])
        top_N = self.probabilities_NK[np.arange(len(best_N)), best_N]
        columns: dict[str, Any] = {
            "path": pa.array(self.paths, pa.string()),
            "label": pa.array([self.class_names[place] for place in best_N], pa.string(), mask=refused_N),
            "probability": pa.array(top_N, pa.float32(), mask=refused_N),
            "novelty": pa.array(self.novelty_N, pa.float32(), mask=no_novelty_N),
            "in_distribution": pa.array(self.novelty_N <= limit, pa.bool_(), mask=no_novelty_N),
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
        embeddings = [self.embeddings.get(row) if row in sampled else None for row in range(len(self.paths))]
        columns[EMBEDDING] = pa.array(embeddings, pa.list_(pa.float32()))
        return pa.table(columns)


def predict_table(paths: Sequence[str], sampled: set[int], model: BatchModel, advance: Callable[[int], None]) -> pa.Table:
    """The rows of these images; those of `sampled` carry their embedding and statistics. `advance` takes the number of rows done."""
    predictor, novelty = model.predictor, model.novelty
    columns = _Columns(list(paths), predictor.info.class_names)
    with closing(_decoded(paths, predictor)) as groups:
        for group in groups:
            _fill(columns, group, sampled, predictor)
            advance(len(group))
    if novelty is not None:
        columns.measure_novelty(novelty)
    return columns.as_table(sampled, novelty.limit if novelty else np.inf)


def _fill(columns: _Columns, group: list[_Decoded | ImageRefusedError], sampled: set[int], predictor: Predictor) -> None:
    first = columns.num_done
    rows = [first + place for place, one in enumerate(group) if isinstance(one, _Decoded)]
    usable = [one for one in group if isinstance(one, _Decoded)]
    if usable:
        found = predictor.predict(np.stack([one.image_SSC for one in usable]))
        columns.probabilities_NK[rows] = found.probabilities
        for place, row in enumerate(rows):
            columns.embeddings[row] = found.embeddings[place]
            if row in sampled:
                columns.statistics_NS[row] = image_statistics(usable[place].image_SSC[None])[0]
    for one in group:
        columns.containers.append(one.container if isinstance(one, _Decoded) else None)
        columns.refusals.append(one if isinstance(one, ImageRefusedError) else None)
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
                UNREADABLE, f"cannot be read ({getattr(error, 'strerror', None) or error or type(error).__name__})"
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
