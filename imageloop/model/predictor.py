"""The only code that runs a model once it is trained: evaluation, batch, service and monitoring all call it.

Shapes: B images, S pixels a side, K classes, D features, h x w cells of the activation map.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from imageloop.data.preprocessing import PreprocessedMessage, UInt8Array, preprocess, preprocess_message
from imageloop.data.settings import Limits
from imageloop.errors import ImageRefusedError
from imageloop.model.onnx_session import CUDA, GpuLostError, open_session, runs_on_gpu
from imageloop.model.package import (
    BATCH,
    EXACT_MODEL,
    FP16_MODEL,
    GPU_BATCH,
    INPUT,
    INT8_MODEL,
    OUTPUTS,
    PRECISIONS,
    PackageInfo,
    open_package,
    read_info,
)
from imageloop.usable_cores import usable_cores

FloatArray = NDArray[np.float32]
SERVED = Limits(min_side_pixels=8)  # smaller images show too little, and are predicted with confidence all the same


def served_limits(info: PackageInfo) -> Limits:
    """What training was allowed to read is predicted as well; a package of before has no limits of its own."""
    if info.limits is None:
        return SERVED
    sizes = {
        name: max(getattr(SERVED, name), getattr(info.limits, name)) for name in ("max_pixels", "max_decoding_bytes", "max_bytes")
    }
    return SERVED.model_copy(update=sizes)


@dataclass(frozen=True)
class Predictions:
    """labels: B names; probabilities (B, K); embeddings (B, D)."""

    labels: list[str]
    probabilities: FloatArray
    embeddings: FloatArray


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image: the most probable class, its probability, all of them by name, and the embedding (D,)."""

    label: str
    probability: float
    probabilities: dict[str, float]
    embedding_D: FloatArray = field(repr=False, compare=False)


class Predictor:
    """A model that predicts. Thread-safe, as ONNX Runtime's sessions are."""

    def __init__(self, model: Path, info: PackageInfo, threads: int) -> None:
        self._session = open_session(model, threads)
        self.info = info
        self.precision = PRECISIONS.get(model.name, "fp32")
        self.on_gpu = self._session.get_providers()[0] == CUDA
        self.limits = served_limits(info)

    @classmethod
    def load(cls, folder: Path, key: Path, threads: int | None = None, *, exact: bool = False) -> Self:
        """Open a package after verifying it; int8, or on a GPU fp16, where it passed its gate, unless `exact` is asked for.

        Raises: PackageError, SignatureError.
        """
        info = open_package(folder, key)
        return cls(_model_file(folder, exact=exact), info, threads or usable_cores())

    @classmethod
    def unsigned(cls, folder: Path, threads: int) -> Self:
        """Open a package that is still being made, or that this process has had verified; `load` is for all others."""
        return cls(_model_file(folder, exact=False), read_info(folder), threads)

    def predict(self, images: Sequence[bytes] | UInt8Array) -> Predictions:
        """Shapes: B files' contents, or images (B, S, S, 3) uint8 that are preprocessed already.

        Raises: ImageRefusedError for the first content that is no usable image.
        """
        images_BSSC = images if isinstance(images, np.ndarray) else self._preprocess_each(images)
        size = GPU_BATCH if self.on_gpu else BATCH
        batches = [self._run(images_BSSC[start : start + size])[:2] for start in range(0, len(images_BSSC), size)]
        if not batches:
            return Predictions([], np.empty((0, len(self.info.class_names)), np.float32), np.empty((0, 0), np.float32))
        probabilities_BK, embeddings_BD = (np.concatenate(parts) for parts in zip(*batches, strict=True))
        labels = [self.info.class_names[index] for index in probabilities_BK.argmax(1)]
        return Predictions(labels, probabilities_BK, embeddings_BD)

    def preprocess_all(self, contents: Sequence[bytes], before_each: Callable[[], None] = lambda: None) -> PreprocessedMessage:
        """Decode and preprocess the files of one message, which is limited as a whole, and read their headers.

        `before_each` may raise to end the work.
        Raises: ImageRefusedError where all of them take too much together.
        """
        return preprocess_message(contents, self.info.side_pixels, self.limits, before_each)

    def predict_each(self, contents: Iterable[bytes]) -> Iterator[Prediction | ImageRefusedError]:
        """Predict one image after the other, in order, refusals included; decodes on all cores, holds a few images at a time."""
        num_threads = usable_cores()
        with ThreadPoolExecutor(num_threads) as pool:
            for batch in itertools.batched(contents, BATCH * num_threads * 2):
                yield from self._predict_batch(list(pool.map(self._try_preprocess, batch)))

    def explain(self, content: bytes, label: str | None = None) -> tuple[Prediction, FloatArray]:
        """The prediction, and its class activation map (or that of `label`).

        Shapes: bytes -> heat map (h, w) in [0, 1], over the centre square that the model sees.
        Source: class activation maps, Zhou et al., 2016.
        Raises: ImageRefusedError, ValueError for a label that the model does not know.
        """
        probabilities_BK, embeddings_BD, maps_BKhw = self._run(preprocess(content, self.info.side_pixels, self.limits)[None])
        prediction = self._prediction(probabilities_BK[0], embeddings_BD[0])
        names = self.info.class_names
        map_hw = maps_BKhw[0, names.index(label or prediction.label)] - maps_BKhw[0].mean(0)
        spread = map_hw.max() - map_hw.min()
        return prediction, (map_hw - map_hw.min()) / (spread if spread > 0 else 1.0)

    def _predict_batch(self, images: list[UInt8Array | ImageRefusedError]) -> Iterator[Prediction | ImageRefusedError]:
        usable = [image for image in images if isinstance(image, np.ndarray)]
        found = self.predict(np.stack(usable)) if usable else None
        rows = zip(found.probabilities, found.embeddings, strict=True) if found else iter(())
        for image in images:
            yield image if isinstance(image, ImageRefusedError) else self._prediction(*next(rows))

    def _prediction(self, probabilities_K: FloatArray, embedding_D: FloatArray) -> Prediction:
        values = dict(zip(self.info.class_names, map(float, probabilities_K), strict=True))
        label = max(values, key=values.__getitem__)
        return Prediction(label, values[label], values, embedding_D)

    def _preprocess_each(self, contents: Sequence[bytes]) -> UInt8Array:
        side = self.info.side_pixels
        images = [preprocess(content, side, self.limits) for content in contents]
        return np.stack(images) if images else np.empty((0, side, side, 3), np.uint8)

    def _try_preprocess(self, content: bytes) -> UInt8Array | ImageRefusedError:
        try:
            return preprocess(content, self.info.side_pixels, self.limits)
        except ImageRefusedError as error:
            return error

    def _run(self, images_BSSC: UInt8Array) -> list[FloatArray]:
        try:
            return list(self._session.run(list(OUTPUTS), {INPUT: np.ascontiguousarray(images_BSSC)}))
        except Exception as error:
            if self.on_gpu and "CUDA" in str(error):
                raise GpuLostError(str(error).splitlines()[0]) from error
            raise


def _model_file(folder: Path, *, exact: bool) -> Path:
    smaller = folder / (FP16_MODEL if runs_on_gpu() else INT8_MODEL)
    return smaller if smaller.exists() and not exact else folder / EXACT_MODEL
