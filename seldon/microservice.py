"""The model as Seldon Core serves it: `seldon-core-microservice seldon.microservice.ImageClassifier --service-type MODEL`.

`seldon/launcher.py` serves the same class faster. Parameters come from the manifest (`graph.parameters`); the predictor's
name and its folders come from the environment, which Seldon or our local cluster sets.
"""

import os
from pathlib import Path
from typing import Any

from flask import Blueprint

from imageloop.embeddings.training_examples import TrainingExamples
from imageloop.model.signing import public_key
from imageloop.prices import per_cpu_hour, per_gib_hour
from imageloop.records.record_writer import RecordWriter
from imageloop.records.retained_images import ImageRetention
from imageloop.usable_cores import usable_cores
from imageloop.workspace_paths import Workspace
from seldon.service import prometheus_metrics
from seldon.service.compute_threads import ComputeThreads
from seldon.service.concurrency_limit import from_environment, num_workers
from seldon.service.feedback_messages import parse_seldon_feedback
from seldon.service.images_together import max_batch, max_wait_seconds
from seldon.service.prediction_handler import PredictionHandler, Shared
from seldon.service.prediction_requests import Identity, PredictionRequest, ServedPrediction, source_of
from seldon.service.request_errors import RequestError
from seldon.service.request_log import RequestLog
from seldon.service.seldon_messages import parse_message, prediction_message
from seldon.service.served_graph import ServedGraph
from seldon.service.serving_place import ServingPlace
from seldon.service.serving_protocols import CLIENT_HEADER

THREADS_VARIABLE = "IMAGELOOP_COMPUTE_THREADS"


def compute_threads() -> int:
    """The configured number, by default this worker's share of the cores that the service may use."""
    return int(os.environ.get(THREADS_VARIABLE) or max(1, usable_cores() // num_workers()))


class ImageClassifier:
    """Seldon's contract: `load` once in each worker, `predict_raw` for each message."""

    def __init__(
        self,
        model_uri: str = "/mnt/models",
        model_name: str = "imageloop",
        model_version: str = "0",
        graph: str = "",
        *,
        place: ServingPlace | None = None,
    ) -> None:
        """Verify the package, or those of a `graph` of several versions; a process that must not serve them ends here.

        `place`: by default that of the environment.
        Raises: PackageError, SettingsError; SignatureError without a key.
        """
        self._graph = ServedGraph.of(model_uri, model_version, graph)
        self._key = public_key(Workspace.current().keys)
        self._place = place or ServingPlace.from_environment()
        self._identity = Identity(model_name, model_version, self._place.predictor, self._place.scope)
        self.info, self._verified_in = self._graph.verify(self._key, self._place.verify), os.getpid()
        self._retention = ImageRetention.from_environment(
            str(self._place.records) if self._place.records else None,
            lambda: prometheus_metrics.images_lost.labels(self._identity.label).inc(),
        )
        self._handler: PredictionHandler | None = None
        self.examples: TrainingExamples | None = None
        self.request_log: RequestLog | None = None

    def load(self) -> None:
        """Open the model and what it writes to; ONNX Runtime's sessions and threads do not survive a fork."""
        prometheus_metrics.ensure_folder()
        if self._verified_in != os.getpid():  # a worker that replaces another one may start weeks later
            self._graph.verify(self._key, self._place.verify)
        predictors, identity = self._graph.open(), self._identity
        prometheus_metrics.model_info.labels(
            identity.label, identity.model_name, identity.model_version, self.info.data_version, predictors[0].precision
        ).set(1)
        prometheus_metrics.price.labels(identity.label).set(per_cpu_hour())
        prometheus_metrics.memory_price.labels(identity.label).set(per_gib_hour())
        lost = prometheus_metrics.records_lost.labels(identity.label)
        folder = self._place.records
        self.request_log = RequestLog.from_environment(identity) if folder else None
        writer = RecordWriter(folder, lost.inc, self.request_log.send if self.request_log else None) if folder else None
        self.examples = TrainingExamples.read(self.folder)
        threads = compute_threads()
        prometheus_metrics.cores.labels(identity.label).set(threads)
        compute = self._place.compute or ComputeThreads(threads, max_batch(predictors[0]), max_wait_seconds())
        shared = Shared(from_environment(threads), compute, writer, self._retention)
        self._handler = self._graph.handler(predictors, identity, shared, folder)

    def close(self) -> None:
        """Before the process or the model ends: finish what is computed, and write the records that wait."""
        if self._handler is not None:
            self._handler.close(end_threads=self._place.compute is None)

    @property
    def model_name(self) -> str:
        return self._identity.model_name

    @property
    def identity(self) -> Identity:
        return self._identity

    @property
    def folder(self) -> Path:
        """The package that is served; of a graph, that of its first version."""
        return self._graph.members[0].folder

    @property
    def metrics_label(self) -> str:
        """The predictor as metrics name it."""
        return self._identity.label

    @property
    def handler(self) -> PredictionHandler:
        """Raises: RequestError before `load`."""
        if self._handler is None:
            raise RequestError(503, "not_ready", "expected a model, got it not loaded yet; try again soon", retry_after_seconds=1)
        return self._handler

    @property
    def model_error_handler(self) -> Blueprint:
        """Our own routes, which Seldon registers before those of its wrapper."""
        from seldon.service.routes import blueprint

        return blueprint(self)

    def predict_raw(self, message: Any) -> Any:
        """Predict a Seldon message in any of its forms (bytes of JSON, fields, protobuf), and respond in the same form.

        Raises: RequestError.
        """
        from flask import has_request_context, request
        from seldon_core.proto import prediction_pb2
        from seldon_core.utils import json_to_seldon_message, seldon_message_to_json
        from seldon_core.wrapper import PAYLOAD_PASSTHROUGH

        from seldon.service.json_encoding import to_json
        from seldon.service.request_checks import abandonment, caller_id, stages

        is_proto = isinstance(message, prediction_pb2.SeldonMessage)
        fields = seldon_message_to_json(message) if is_proto else message
        caller, client = (caller_id(), request.headers.get(CLIENT_HEADER)) if has_request_context() else (None, None)
        contents = parse_message(fields, self.info.side_pixels)
        handed_in = PredictionRequest(contents, caller, source_of("seldon", client), is_abandoned=abandonment(), stages=stages())
        response = self.seldon_response(self.handler.submit(handed_in).result())
        if is_proto:
            return json_to_seldon_message(response)
        return to_json(response) if PAYLOAD_PASSTHROUGH else response

    def seldon_response(self, predictions: list[ServedPrediction | RequestError]) -> dict[str, Any]:
        """The message with which Seldon's protocol responds to a prediction request; the row of a refused image holds nulls."""
        refused = [None] * len(self.info.class_names)
        rows = [list(one.probabilities.values()) if isinstance(one, ServedPrediction) else refused for one in predictions]
        request_id = next(one.request_id for one in predictions if isinstance(one, ServedPrediction)).partition(".")[0]
        return prediction_message(self.info.class_names, rows, request_id, self.handler.tags(predictions))

    def send_feedback_raw(self, message: Any) -> Any:
        """Store Seldon's feedback message: the ground truth of the prediction with its `meta.puid`.

        Raises: RequestError.
        """
        from seldon_core.utils import json_to_seldon_message, seldon_message_to_json

        request_id, label = parse_seldon_feedback(seldon_message_to_json(message), self.info.class_names)
        self.handler.store_feedback(request_id, label, source_of("seldon", None))
        return json_to_seldon_message({"meta": {"puid": request_id}})

    def health_status(self) -> list[str]:
        """Raises: RequestError while the model is not loaded."""
        return [self.handler.identity.model_version]

    def init_metadata(self) -> dict[str, Any]:
        """Return the response of `GET /metadata`."""
        side = self.info.side_pixels
        return {
            "name": self._identity.model_name,
            "versions": [self._identity.model_version],
            "platform": "onnx",
            "inputs": [{"messagetype": "ndarray", "schema": {"shape": [side, side, 3]}}, {"messagetype": "binData"}],
            "outputs": [
                {"messagetype": "ndarray", "schema": {"names": self.info.class_names, "shape": [len(self.info.class_names)]}}
            ],
            "custom": {
                "data_version": self.info.data_version,
                "git_commit": self.info.git_commit,
                "run": self.info.run_id,
                "keeps_images": "no" if self._retention is None else "yes",
            },
        }
