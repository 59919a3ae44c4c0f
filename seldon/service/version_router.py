"""Several versions behind one predictor: a bandit chooses which of them predicts a request, and learns from feedback."""

import logging
import sqlite3
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from imageloop.data.preprocessing import resize_preprocessed
from imageloop.model.predictor import Predictor
from seldon.service import prometheus_metrics
from seldon.service.bandit import Bandit
from seldon.service.prediction_handler import PredictionHandler, Shared
from seldon.service.prediction_requests import Identity, PredictionRequest, ServedPrediction
from seldon.service.request_errors import RequestError

logger = logging.getLogger(__name__)


class VersionRouter(PredictionHandler):
    """Hands each request to the handler of one version. `handlers`: by version.

    Explanations are by `predictor`, the first version.
    """

    def __init__(
        self, handlers: Mapping[str, PredictionHandler], bandit: Bandit, predictor: Predictor, identity: Identity, shared: Shared
    ) -> None:
        super().__init__(predictor, identity, shared)
        self._handlers, self._bandit = dict(handlers), bandit

    def submit(self, request: PredictionRequest) -> "Future[list[ServedPrediction | RequestError]]":
        """Queue the images of a request for the version that the bandit chooses, which learns nothing of one that is not stored."""
        version = self._choose()
        result = self._handlers[version].submit(_for_side(request, self._handlers[version].predictor.info.side_pixels))
        if not request.stored:
            return result
        noted: Future[list[ServedPrediction | RequestError]] = (
            Future()
        )  # so that no feedback comes before its prediction is known
        result.add_done_callback(partial(self._note, version, noted))
        noted.add_done_callback(lambda done: result.cancel() if done.cancelled() else None)
        return noted

    def store_feedback(self, request_id: str, ground_truth: str, source: str) -> None:
        super().store_feedback(request_id, ground_truth, source)
        try:
            version = self._bandit.learn(request_id, ground_truth)
        except sqlite3.Error as error:  # the label is stored all the same
            logger.warning("the router could not learn from a label: %s", error)
            return
        if version is not None:
            prometheus_metrics.routed_feedback.labels(self.identity.label, version).inc()

    def model_identity(self, predictions: "Sequence[ServedPrediction | RequestError]" = ()) -> dict[str, str]:
        """The version that made the predictions; without any, all of them."""
        version = next((one.model_version for one in predictions if isinstance(one, ServedPrediction)), None)
        return super().model_identity() if version is None else self._handlers[version].model_identity()

    def _choose(self) -> str:
        try:
            return self._bandit.choose()
        except sqlite3.Error as error:
            logger.warning("the router could not read what it learnt: %s", error)
            return next(iter(self._handlers))

    def _note(self, version: str, noted: "Future[Any]", done: "Future[Any]") -> None:
        """Remember which version predicted, then hand the predictions on."""
        if done.cancelled() or not noted.set_running_or_notify_cancel():
            return
        if (failed := done.exception()) is not None:
            noted.set_exception(failed)
            return
        served = [(one.request_id, one.label) for one in done.result() if isinstance(one, ServedPrediction)]
        try:
            self._bandit.note_served(version, served)
        except sqlite3.Error as error:
            logger.warning("the router could not remember a prediction: %s", error)
        noted.set_result(done.result())


def _for_side(request: PredictionRequest, side: int) -> PredictionRequest:
    """The request of a model of `side`: files are decoded for it, and pixels, which have the side of the largest one, resized."""
    if not isinstance(request.contents, np.ndarray):
        return request
    return replace(request, contents=resize_preprocessed(request.contents, side))
