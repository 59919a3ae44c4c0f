"""From pictures to answers, with everything that an answer leaves behind: figures and a record."""

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

from imageloop.data.image_statistics import NAMES, rows_for_statistics, statistics_of_rows
from imageloop.data.preprocessing import Container, UInt8Array
from imageloop.embeddings.novelty import Familiarity
from imageloop.errors import ImageRefusedError
from imageloop.model.predictor import Predictor
from imageloop.records.record_types import encode_embedding
from imageloop.records.record_writer import RecordWriter
from imageloop.records.retained_images import PictureKeeper
from seldon.service import prometheus_metrics
from seldon.service.concurrency_limit import Admission
from seldon.service.request_errors import RequestError, refused_picture
from seldon.service.seldon_messages import Contents

Facts = Callable[[], dict[str, Any]]  # what a record keeps of a picture, computed when the record is made
Seen = tuple[bytes | np.ndarray, Facts, np.ndarray]  # a picture as it came, its facts and its embedding
UNCERTAIN_BELOW = 0.8  # probability: a label tells more of such a picture than of others
# A site's own secret (`seldon/delivery/clusters/open_cluster.py` makes one): whoever knows it finds a caller's name by trying names.
SOURCE_SALT = os.environ.get("IMAGELOOP_SOURCE_SALT", "imageloop").encode()


@dataclass(frozen=True)
class Identity:
    """Which model answers, and as which predictor of the deployment."""

    model_name: str
    model_version: str
    predictor: str


@dataclass(frozen=True)
class Answer:
    """What the model says of one picture; `request_id` is ours, and what feedback refers to.

    `in_distribution`: whether the picture resembles any that the model was made of; None where the package cannot tell.
    """

    request_id: str
    label: str
    probability: float
    probabilities: dict[str, float]
    novelty: float | None = None
    in_distribution: bool | None = None


class Answering:
    """One model at work in one process."""

    def __init__(
        self,
        predictor: Predictor,
        identity: Identity,
        admission: Admission,
        writer: RecordWriter | None,
        familiarity: Familiarity | None = None,
        keeper: PictureKeeper | None = None,
    ) -> None:
        self.predictor, self.identity, self.admission = predictor, identity, admission
        self._writer, self._familiarity, self._keeper = writer, familiarity, keeper

    def answer(self, contents: Contents, caller_id: str | None, source: str) -> list[Answer]:
        """One answer a picture, in their order.

        Raises: RequestError if one of them is no usable picture.
        """
        begun = time.perf_counter()
        try:
            with self.admission.working():
                images_BSSC, containers = self._see(contents)
                # before the model: the pixels are still in the processor's cache
                facts = self._facts(contents, images_BSSC, containers)
                found = self.predictor.predict(images_BSSC)
        except ImageRefusedError as error:
            raise refused_picture(error) from error
        request_id = uuid.uuid4().hex
        ids = [request_id] if len(contents) == 1 else [f"{request_id}.{index}" for index in range(len(contents))]
        novelty = self._familiarity.distance(found.embeddings).tolist() if self._familiarity else [None] * len(ids)
        rows = zip(ids, found.labels, found.probabilities.tolist(), novelty, strict=True)
        answers = [self._answer(*row) for row in rows]
        milliseconds = 1000 * (time.perf_counter() - begun)
        for answer, seen in zip(answers, zip(contents, facts, found.embeddings, strict=True), strict=True):
            self._remember(answer, seen, caller_id, source, milliseconds)
        return answers

    def learn(self, request_id: str, true_label: str, source: str) -> None:
        """Keep the true label of an answer; it is written before the caller is told that it is.

        Raises: RequestError where it cannot be.
        """
        record = {"kind": "feedback", "time": _now(), "request_id": request_id, "true_label": true_label, "source": source}
        if self._writer is not None and not self._writer.write_through(record | {"feedback_id": uuid.uuid4().hex}):
            raise RequestError(503, "not_kept", "the label could not be written; send it again", retry_after_seconds=5)
        prometheus_metrics.feedback.labels(self.identity.predictor, true_label).inc()
        if self._keeper is not None:
            self._keeper.learn(request_id, true_label)

    def close(self) -> None:
        """Write the records that wait."""
        if self._writer is not None:
            self._writer.close()

    def tags(self, answers: list[Answer]) -> dict[str, Any]:
        """What a Seldon answer says beside the probabilities."""
        return {
            "labels": [answer.label for answer in answers],
            "request_ids": [answer.request_id for answer in answers],
            "in_distribution": [answer.in_distribution for answer in answers],
            **self.speaker(),
        }

    def speaker(self) -> dict[str, str]:
        return {
            "model": self.identity.model_name,
            "version": self.identity.model_version,
            "predictor": self.identity.predictor,
            "precision": self.predictor.precision,
        }

    def _see(self, contents: Contents) -> tuple[UInt8Array, Sequence[Container | None]]:
        """Pixels are taken as they are, and have no file that says anything of itself."""
        return (contents, [None] * len(contents)) if isinstance(contents, np.ndarray) else self.predictor.see(contents)

    def _facts(self, contents: Contents, images_BSSC: UInt8Array, containers: Sequence[Container | None]) -> list[Facts]:
        if self._writer is None:
            return [dict for _ in contents]
        return [_facts_of(*seen) for seen in zip(contents, images_BSSC, containers, strict=True)]

    def _answer(self, request_id: str, label: str, probabilities: list[float], novelty: float | None) -> Answer:
        values = dict(zip(self.predictor.info.class_names, probabilities, strict=True))
        known = None if novelty is None or self._familiarity is None else novelty <= self._familiarity.limit
        return Answer(request_id, label, values[label], values, novelty, known)

    def _remember(self, answer: Answer, seen: Seen, caller_id: str | None, source: str, milliseconds: float) -> None:
        content, facts, embedding_D = seen
        prometheus_metrics.predictions.labels(self.identity.predictor, self.identity.model_version, answer.label).inc()
        prometheus_metrics.confidence.labels(self.identity.predictor).observe(answer.probability)
        if answer.in_distribution is False:
            prometheus_metrics.unfamiliar.labels(self.identity.predictor).inc()
        if self._keeper is not None:
            for_labelling = answer.probability < UNCERTAIN_BELOW or answer.in_distribution is False
            self._keeper.keep(answer.request_id, answer.label, _as_file(content), for_labelling=for_labelling)
        if self._writer is not None:
            self._writer.write(partial(self._record, answer, facts, embedding_D, caller_id, source, milliseconds, _now()))

    def _record(
        self,
        answer: Answer,
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
            "request_id": answer.request_id,
            "caller_id": caller_id,
            "model_name": self.identity.model_name,
            "model_version": self.identity.model_version,
            "predictor": self.identity.predictor,
            **facts(),
            "embedding": encode_embedding(embedding_D),
            "label": answer.label,
            "probabilities": {name: round(value, 6) for name, value in answer.probabilities.items()},
            "latency_ms": round(milliseconds, 3),
            "source": source,
            "novelty": answer.novelty,
            "in_distribution": answer.in_distribution,
        }


def source_of(route: str, client: str | None) -> str:
    """Who says so, for a cap on what one source may say: not the name that the gateway gave, nor to be found from this."""
    return route if not client else f"{route}:{hmac.digest(SOURCE_SALT, client.encode(), 'sha256').hex()[:16]}"


def _as_file(content: bytes | np.ndarray) -> bytes:
    """Pixels become a PNG."""
    if isinstance(content, bytes):
        return content
    out = io.BytesIO()
    Image.fromarray(content).save(out, "PNG")
    return out.getvalue()


def _facts_of(content: bytes | np.ndarray, image_SSC: UInt8Array, container: Container | None) -> Facts:
    """Of a picture: its hash, size, format and statistics. Holds neither the picture nor the file."""
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
