"""From pictures to answers, with everything that an answer leaves behind: figures and a record."""

import hashlib
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from classifier.errors import ImageRefusedError
from classifier.model.predictor import Predictor
from records.writer import RecordWriter
from seldon.service import metrics
from seldon.service.admission import Admission
from seldon.service.errors import refused_picture
from seldon.service.messages import Contents


@dataclass(frozen=True)
class Identity:
    """Which model answers, and as which predictor of the deployment."""

    model_name: str
    model_version: str
    predictor: str


@dataclass(frozen=True)
class Answer:
    """What the model says of one picture; `request_id` is ours, and what feedback refers to."""

    request_id: str
    label: str
    probability: float
    probabilities: dict[str, float]


class Answering:
    """One model at work in one process."""

    def __init__(self, predictor: Predictor, identity: Identity, admission: Admission, writer: RecordWriter | None) -> None:
        self.predictor, self.identity, self.admission = predictor, identity, admission
        self._writer = writer

    def answer(self, contents: Contents, caller_id: str | None, source: str) -> list[Answer]:
        """One answer a picture, in their order.

        Raises: RequestError if one of them is no usable picture.
        """
        begun = time.perf_counter()
        try:
            with self.admission.working():
                found = self.predictor.predict(contents)
        except ImageRefusedError as error:
            raise refused_picture(error) from error
        request_id = uuid.uuid4().hex
        ids = [request_id] if len(contents) == 1 else [f"{request_id}.{index}" for index in range(len(contents))]
        answers = [self._answer(*row) for row in zip(ids, found.labels, found.probabilities.tolist(), strict=True)]
        milliseconds = 1000 * (time.perf_counter() - begun)
        for answer, content in zip(answers, contents, strict=True):
            self._remember(answer, content, caller_id, source, milliseconds)
        return answers

    def learn(self, request_id: str, true_label: str, source: str) -> None:
        """Keep the true label of an answer."""
        metrics.feedback.labels(self.identity.predictor, true_label).inc()
        self._write({"kind": "feedback", "time": _now(), "request_id": request_id, "true_label": true_label, "source": source})

    def tags(self, answers: list[Answer]) -> dict[str, Any]:
        """What a Seldon answer says beside the probabilities."""
        return {
            "labels": [answer.label for answer in answers],
            "request_ids": [answer.request_id for answer in answers],
            **self.speaker(),
        }

    def speaker(self) -> dict[str, str]:
        return {
            "model": self.identity.model_name,
            "version": self.identity.model_version,
            "predictor": self.identity.predictor,
            "precision": self.predictor.precision,
        }

    def _answer(self, request_id: str, label: str, probabilities: list[float]) -> Answer:
        values = dict(zip(self.predictor.info.class_names, probabilities, strict=True))
        return Answer(request_id, label, values[label], values)

    def _remember(
        self, answer: Answer, content: bytes | np.ndarray, caller_id: str | None, source: str, milliseconds: float
    ) -> None:
        metrics.predictions.labels(self.identity.predictor, self.identity.model_version, answer.label).inc()
        metrics.confidence.labels(self.identity.predictor).observe(answer.probability)
        data = content if isinstance(content, bytes) else content.tobytes()
        self._write(
            {
                "kind": "prediction",
                "time": _now(),
                "request_id": answer.request_id,
                "caller_id": caller_id,
                "model_name": self.identity.model_name,
                "model_version": self.identity.model_version,
                "predictor": self.identity.predictor,
                "sha256": hashlib.sha256(data).hexdigest(),
                "size_bytes": len(data),
                "label": answer.label,
                "probabilities": {name: round(value, 6) for name, value in answer.probabilities.items()},
                "latency_ms": round(milliseconds, 3),
                "source": source,
            }
        )

    def _write(self, record: dict[str, Any]) -> None:
        if self._writer is not None:
            self._writer.write(record)


def _now() -> str:
    return datetime.now(UTC).isoformat()
