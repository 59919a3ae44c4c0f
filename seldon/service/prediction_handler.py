"""Predicts images, and writes metrics and a record for each prediction."""

import itertools
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from imageloop.data.image_checks import Container
from imageloop.data.preprocessing import UInt8Array
from imageloop.embeddings.novelty import Novelty
from imageloop.errors import ImageRefusedError
from imageloop.model.class_activation_map import draw_heat_map
from imageloop.model.predictor import Predictor
from imageloop.records.record_types import encode_embedding
from imageloop.records.record_writer import RecordWriter
from imageloop.records.retained_images import ImageRetention
from seldon.service import prometheus_metrics
from seldon.service.compute_threads import ComputeThreads
from seldon.service.concurrency_limit import Admission
from seldon.service.image_facts import Facts, as_file, facts_of
from seldon.service.lost_gpu import computed_or_ended
from seldon.service.prediction_requests import Identity, PredictionRequest, ServedPrediction, tags_of
from seldon.service.request_errors import RequestError, refused_image

Seen = tuple[bytes | np.ndarray, Facts, np.ndarray]  # the file's content, its statistics and its embedding
UNCERTAIN_BELOW = 0.8  # probability: a label of such an image is worth more


@dataclass(frozen=True)
class _Images:
    """The usable images of one request, preprocessed (B, S, S, 3), what their records hold of each, and why others are refused.

    `numbers`: of the usable ones in the request.
    """

    request: PredictionRequest
    images_BSSC: UInt8Array
    numbers: list[int]
    facts: list[Facts]
    refused: dict[int, RequestError]


class Shared(NamedTuple):
    """What the handlers of one process share."""

    admission: Admission
    compute: ComputeThreads
    writer: RecordWriter | None = None
    retention: ImageRetention | None = None


class PredictionHandler:
    """Predicts with one model in one process, on the threads of `compute`."""

    def __init__(self, predictor: Predictor, identity: Identity, shared: Shared, novelty: Novelty | None = None) -> None:
        self.predictor, self.identity, self._novelty = predictor, identity, novelty
        self.admission, self._compute, self._writer, self._retention = shared

    def submit(self, request: PredictionRequest) -> "Future[list[ServedPrediction | RequestError]]":
        """Queue the images of a request; the result is a prediction for each of them, or why it was refused, in their order.

        Its error is a RequestError if none of them is a usable image.
        """
        return self._compute.submit(self._predict_together, request, alone=request.is_large())

    def explain(self, content: bytes, is_abandoned: Callable[[], bool], *, drawn: bool) -> Any:
        """The prediction and the heat map (h, w) of one image, or, `drawn`, the image under its heat map.

        Raises: RequestError if it is no usable image.
        """
        request = PredictionRequest([content], None, "", is_abandoned=is_abandoned)
        return self._compute.submit(partial(self._explain, drawn=drawn), request, alone=True).result()

    def store_feedback(self, request_id: str, ground_truth: str, source: str) -> None:
        """Store the ground truth of a prediction; it is written before the caller gets a response.

        Raises: RequestError where it cannot be.
        """
        record = {"kind": "feedback", "time": _now(), "request_id": request_id, "ground_truth": ground_truth, "source": source}
        if self._writer is not None and not self._writer.write_through(record | {"feedback_id": uuid.uuid4().hex}):
            raise RequestError(503, "not_kept", "the label could not be written; send it again", retry_after_seconds=5)
        prometheus_metrics.feedback.labels(self.identity.label, ground_truth).inc()
        if self._retention is not None:
            self._retention.set_ground_truth(request_id, ground_truth)

    def close(self, *, end_threads: bool = True) -> None:
        """Finish what is computed, and write the records that wait."""
        if end_threads:
            self._compute.close()
        if self._writer is not None:
            self._writer.close()

    def tags(self, predictions: "list[ServedPrediction | RequestError]") -> dict[str, Any]:
        """Return the tags of a Seldon response."""
        return tags_of(predictions) | self.model_identity(predictions)

    def context(self, predictions: "Sequence[ServedPrediction | RequestError]", begun: float) -> dict[str, Any]:
        """What `/predict` says beside its predictions: the model, and the time since the request began."""
        return {"model": self.model_identity(predictions), "milliseconds": round(1000 * (time.perf_counter() - begun), 1)}

    def model_identity(self, _predictions: "Sequence[ServedPrediction | RequestError]" = ()) -> dict[str, str]:
        """The model that made the predictions."""
        return {
            "model": self.identity.model_name,
            "version": self.identity.model_version,
            "predictor": self.identity.predictor,
            "precision": self.predictor.precision,
        }

    def _predict_together(self, requests: list[PredictionRequest]) -> list[list[ServedPrediction | RequestError] | RequestError]:
        """Predict the images of several callers in one run of the model; an image that cannot be used is one caller's error."""
        begun_cpu = time.thread_time()
        seen = [self._see(request) for request in requests]
        usable = [one for one in seen if isinstance(one, _Images)]
        predictions = iter(self._predict(usable) if usable else [])
        results = [next(predictions) if isinstance(one, _Images) else one for one in seen]
        if any(request.stored for request in requests):
            prometheus_metrics.cpu_seconds.labels(self.identity.label).inc(time.thread_time() - begun_cpu)
        return results

    def _see(self, request: PredictionRequest) -> "_Images | RequestError":
        """Preprocess the files of a request, unless its caller has gone meanwhile; pixels are as they should be, and have no header."""
        contents, begun = request.contents, time.time_ns()
        refused: dict[int, RequestError] = {}
        try:
            if isinstance(contents, np.ndarray):
                images_BSSC, numbers, containers = (
                    contents,
                    list(range(len(contents))),
                    list[Container | None]([None] * len(contents)),
                )
            else:
                images_BSSC, numbers, found, errors = self.predictor.preprocess_all(contents, request.refuse_abandoned)
                refused = {number: refused_image(error) for number, error in errors.items()}
                containers = list[Container | None](found)
        except ImageRefusedError as error:
            return refused_image(error)
        except RequestError as error:
            return error
        if not numbers:
            return refused[0]
        self._count_refused(refused)
        request.note("decode", begun, images=len(contents))
        if self._writer is None:
            return _Images(request, images_BSSC, numbers, [dict for _ in numbers], refused)
        # before the model: the pixels are still in the processor's cache
        facts = [facts_of(contents[number], *rest) for number, *rest in zip(numbers, images_BSSC, containers, strict=True)]
        return _Images(request, images_BSSC, numbers, facts, refused)

    def _count_refused(self, errors: dict[int, RequestError]) -> None:
        """Count the images that are refused within a request that is answered."""
        for error in errors.values():
            prometheus_metrics.refused.labels(self.identity.label, error.reason).inc()

    def _predict(self, seen: list[_Images]) -> Iterator[list[ServedPrediction | RequestError]]:
        """Run the model once on all images, and hand each request its own rows."""
        begun = time.time_ns()
        images_BSSC = seen[0].images_BSSC if len(seen) == 1 else np.concatenate([one.images_BSSC for one in seen])
        found = computed_or_ended(self.predictor.predict, images_BSSC)
        for one in seen:
            one.request.note("model", begun, images=len(found.labels))
        distances = self._novelty.distance(found.embeddings).tolist() if self._novelty else [None] * len(found.labels)
        rows = zip(found.labels, found.probabilities.tolist(), distances, found.embeddings, strict=True)
        for one in seen:
            yield self._respond(one, list(itertools.islice(rows, len(one.images_BSSC))))

    def _respond(
        self, seen: _Images, rows: list[tuple[str, list[float], float | None, np.ndarray]]
    ) -> list[ServedPrediction | RequestError]:
        """The predictions of one request, each stored under its id, and the errors of its other images in their places."""
        request, request_id = seen.request, uuid.uuid4().hex
        ids = [request_id] if len(request.contents) == 1 else [f"{request_id}.{number}" for number in seen.numbers]
        predictions = [self._serve(identity, *row[:3]) for identity, row in zip(ids, rows, strict=True)]
        milliseconds, begun = 1000 * (time.perf_counter() - request.begun), time.time_ns()
        if request.stored:
            for prediction, row, number, facts in zip(predictions, rows, seen.numbers, seen.facts, strict=True):
                self._store(prediction, (request.contents[number], facts, row[3]), request, milliseconds)
            request.note("record", begun)
        served: dict[int, ServedPrediction | RequestError] = dict(zip(seen.numbers, predictions, strict=True)) | dict(
            seen.refused
        )
        return [served[number] for number in range(len(request.contents))]

    def _explain(self, requests: list[PredictionRequest], *, drawn: bool) -> list[Any]:
        (request,) = requests
        try:
            request.refuse_abandoned()
            (content,) = request.contents
            explain = partial(draw_heat_map, self.predictor) if drawn else self.predictor.explain
            return [computed_or_ended(explain, content)]
        except ImageRefusedError as error:
            return [refused_image(error)]

    def _serve(self, request_id: str, label: str, probabilities: list[float], novelty: float | None) -> ServedPrediction:
        values = dict(zip(self.predictor.info.class_names, probabilities, strict=True))
        known = None if novelty is None or self._novelty is None else novelty <= self._novelty.limit
        return ServedPrediction(request_id, label, values[label], values, novelty, known, self.identity.model_version)

    def _store(self, prediction: ServedPrediction, seen: Seen, request: PredictionRequest, milliseconds: float) -> None:
        content, facts, embedding_D = seen
        prometheus_metrics.predictions.labels(self.identity.label, self.identity.model_version, prediction.label).inc()
        prometheus_metrics.confidence.labels(self.identity.label).observe(prediction.probability)
        if prediction.in_distribution is False:
            prometheus_metrics.out_of_distribution.labels(self.identity.label).inc()
        if self._retention is not None:
            for_labelling = prediction.probability < UNCERTAIN_BELOW or prediction.in_distribution is False
            self._retention.keep(prediction.request_id, prediction.label, as_file(content), for_labelling=for_labelling)
        if self._writer is not None:
            self._writer.write(
                partial(self._record, prediction, facts, embedding_D, request.caller_id, request.source, milliseconds, _now())
            )

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


def _now() -> str:
    return datetime.now(UTC).isoformat()
