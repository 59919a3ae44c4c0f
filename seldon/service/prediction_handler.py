"""Predicts images, and writes metrics and a record for each prediction."""

import hashlib
import hmac
import io
import os
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from imageloop.data.image_checks import Container
from imageloop.data.image_statistics import NAMES, rows_for_statistics, statistics_of_rows
from imageloop.data.preprocessing import UInt8Array
from imageloop.embeddings.novelty import Novelty
from imageloop.errors import ImageRefusedError
from imageloop.model.predictor import Predictor
from imageloop.records.record_types import encode_embedding
from imageloop.records.record_writer import RecordWriter
from imageloop.records.retained_images import ImageRetention
from seldon.service import prometheus_metrics
from seldon.service.concurrency_limit import Admission
from seldon.service.request_checks import refuse_abandoned
from seldon.service.request_errors import RequestError, refused_image
from seldon.service.rollout_requests import SALT_VARIABLE
from seldon.service.seldon_messages import Contents

Facts = Callable[[], dict[str, Any]]  # what a record holds of an image, computed when the record is made
Seen = tuple[bytes | np.ndarray, Facts, np.ndarray]  # the file's content, its statistics and its embedding
UNCERTAIN_BELOW = 0.8  # probability: a label of such an image is worth more
# A site's own secret (`seldon/delivery/clusters/open_cluster.py` makes one): with it a caller's name can be found by trying names.
SOURCE_SALT = os.environ.get(SALT_VARIABLE, "imageloop").encode()


@dataclass(frozen=True)
class Identity:
    """The model, its version, and the predictor that serves it."""

    model_name: str
    model_version: str
    predictor: str


@dataclass(frozen=True)
class ServedPrediction:
    """The prediction for one image; feedback refers to its `request_id`.

    `in_distribution`: whether the image resembles the training data; None where the package has no novelty reference.
    """

    request_id: str
    label: str
    probability: float
    probabilities: dict[str, float]
    novelty: float | None = None
    in_distribution: bool | None = None


class PredictionHandler:
    """Predicts with one model in one process."""

    def __init__(
        self,
        predictor: Predictor,
        identity: Identity,
        admission: Admission,
        writer: RecordWriter | None,
        novelty: Novelty | None = None,
        retention: ImageRetention | None = None,
    ) -> None:
        self.predictor, self.identity, self.admission = predictor, identity, admission
        self._writer, self._novelty, self._retention = writer, novelty, retention

    def predict(self, contents: Contents, caller_id: str | None, source: str, *, stored: bool = True) -> list[ServedPrediction]:
        """Return a prediction for each image, in their order.

        `stored`: with a record and in the metrics. Raises: RequestError if one of them is no usable image.
        """
        begun = time.perf_counter()
        try:
            with self.admission.working():
                images_BSSC, containers = self._see(contents)
                # before the model: the pixels are still in the processor's cache
                facts = self._facts(contents, images_BSSC, containers)
                found = self.predictor.predict(images_BSSC)
        except ImageRefusedError as error:
            raise refused_image(error) from error
        request_id = uuid.uuid4().hex
        ids = [request_id] if len(contents) == 1 else [f"{request_id}.{index}" for index in range(len(contents))]
        novelty = self._novelty.distance(found.embeddings).tolist() if self._novelty else [None] * len(ids)
        rows = zip(ids, found.labels, found.probabilities.tolist(), novelty, strict=True)
        predictions = [self._serve(*row) for row in rows]
        milliseconds = 1000 * (time.perf_counter() - begun)
        if not stored:
            return predictions
        for prediction, seen in zip(predictions, zip(contents, facts, found.embeddings, strict=True), strict=True):
            self._store(prediction, seen, caller_id, source, milliseconds)
        return predictions

    def store_feedback(self, request_id: str, ground_truth: str, source: str) -> None:
        """Store the ground truth of a prediction; it is written before the caller gets a response.

        Raises: RequestError where it cannot be.
        """
        record = {"kind": "feedback", "time": _now(), "request_id": request_id, "ground_truth": ground_truth, "source": source}
        if self._writer is not None and not self._writer.write_through(record | {"feedback_id": uuid.uuid4().hex}):
            raise RequestError(503, "not_kept", "the label could not be written; send it again", retry_after_seconds=5)
        prometheus_metrics.feedback.labels(self.identity.predictor, ground_truth).inc()
        if self._retention is not None:
            self._retention.set_ground_truth(request_id, ground_truth)

    def close(self) -> None:
        """Write the records that wait."""
        if self._writer is not None:
            self._writer.close()

    def tags(self, predictions: list[ServedPrediction]) -> dict[str, Any]:
        """Return the tags of a Seldon response."""
        return {
            "labels": [prediction.label for prediction in predictions],
            "request_ids": [prediction.request_id for prediction in predictions],
            "in_distribution": [prediction.in_distribution for prediction in predictions],
            **self.model_identity(),
        }

    def model_identity(self) -> dict[str, str]:
        return {
            "model": self.identity.model_name,
            "version": self.identity.model_version,
            "predictor": self.identity.predictor,
            "precision": self.predictor.precision,
        }

    def _see(self, contents: Contents) -> tuple[UInt8Array, Sequence[Container | None]]:
        """Preprocess files, unless the caller has gone meanwhile; pixels are as they should be, and have no header."""
        if isinstance(contents, np.ndarray):
            return contents, [None] * len(contents)
        return self.predictor.preprocess_all(contents, refuse_abandoned)

    def _facts(self, contents: Contents, images_BSSC: UInt8Array, containers: Sequence[Container | None]) -> list[Facts]:
        if self._writer is None:
            return [dict for _ in contents]
        return [_facts_of(*seen) for seen in zip(contents, images_BSSC, containers, strict=True)]

    def _serve(self, request_id: str, label: str, probabilities: list[float], novelty: float | None) -> ServedPrediction:
        values = dict(zip(self.predictor.info.class_names, probabilities, strict=True))
        known = None if novelty is None or self._novelty is None else novelty <= self._novelty.limit
        return ServedPrediction(request_id, label, values[label], values, novelty, known)

    def _store(self, prediction: ServedPrediction, seen: Seen, caller_id: str | None, source: str, milliseconds: float) -> None:
        content, facts, embedding_D = seen
        prometheus_metrics.predictions.labels(self.identity.predictor, self.identity.model_version, prediction.label).inc()
        prometheus_metrics.confidence.labels(self.identity.predictor).observe(prediction.probability)
        if prediction.in_distribution is False:
            prometheus_metrics.out_of_distribution.labels(self.identity.predictor).inc()
        if self._retention is not None:
            for_labelling = prediction.probability < UNCERTAIN_BELOW or prediction.in_distribution is False
            self._retention.keep(prediction.request_id, prediction.label, _as_file(content), for_labelling=for_labelling)
        if self._writer is not None:
            self._writer.write(partial(self._record, prediction, facts, embedding_D, caller_id, source, milliseconds, _now()))

    def _record(
        self,
        prediction: ServedPrediction,
        facts: Facts,
        embedding_D: np.ndarray,
        caller_id: str | None,
        source: str,
        milliseconds: float,
        when: str,
    ) -> dict[str, Any]:
        return {
            "kind": "prediction",
            "time": when,
            "request_id": prediction.request_id,
            "caller_id": caller_id,
            "model_name": self.identity.model_name,
            "model_version": self.identity.model_version,
            "predictor": self.identity.predictor,
            **facts(),
            "embedding": encode_embedding(embedding_D),
            "label": prediction.label,
            "probabilities": {name: round(value, 6) for name, value in prediction.probabilities.items()},
            "latency_ms": round(milliseconds, 3),
            "source": source,
            "novelty": prediction.novelty,
            "in_distribution": prediction.in_distribution,
        }


def source_of(route: str, client: str | None) -> str:
    """Return a pseudonym of the caller, for the limit of feedback from one source; the name cannot be found from it."""
    return route if not client else f"{route}:{hmac.digest(SOURCE_SALT, client.encode(), 'sha256').hex()[:16]}"


def _as_file(content: bytes | np.ndarray) -> bytes:
    """Pixels become a PNG."""
    if isinstance(content, bytes):
        return content
    out = io.BytesIO()
    Image.fromarray(content).save(out, "PNG")
    return out.getvalue()


def _facts_of(content: bytes | np.ndarray, image_SSC: UInt8Array, container: Container | None) -> Facts:
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


def _now() -> str:
    return datetime.now(UTC).isoformat()
