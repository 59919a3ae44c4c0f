"""Seldon's Flask app around our class, with our routes, and errors that are responses."""

import json
import logging
import os
import traceback
from typing import Any

from seldon_core.flask_utils import SeldonMicroserviceException
from seldon_core.microservice import parse_parameters
from seldon_core.wrapper import get_rest_microservice

from seldon.microservice import ImageClassifier
from seldon.service.asgi_app import ServiceApp
from seldon.service.json_encoding import to_json


class NoSeldonMetrics:
    """Seldon's own manager loses updates between threads and costs milliseconds; ours are prometheus-client's."""

    def update(self, _metrics: list[Any], _method: str) -> None:
        """Do nothing: no method of ours returns such metrics."""

    def update_reward(self, _reward: float) -> None:
        """Do nothing: feedback carries labels."""


def open_model() -> ImageClassifier:
    """Verify and load the model that PREDICTIVE_UNIT_PARAMETERS names.

    Raises: ImageLoopError, TypeError for unknown parameters.
    """
    model = ImageClassifier(**parse_parameters(json.loads(os.environ.get("PREDICTIVE_UNIT_PARAMETERS", "[]"))))
    model.load()
    return model


def service_app(model: ImageClassifier) -> ServiceApp:
    """The app that serves a loaded model."""
    app = get_rest_microservice(model, NoSeldonMetrics())
    app.register_error_handler(Exception, _fail)  # Seldon's own repeat what was sent
    app.register_error_handler(SeldonMicroserviceException, _fail)
    return ServiceApp(model, app)


def _fail(error: Exception) -> Any:
    from flask import Response

    from seldon.service.request_checks import caller_id

    name, places = getattr(error, "reason", type(error).__name__), "".join(traceback.format_tb(error.__traceback__))
    logging.getLogger(__name__).error(
        "request %s failed: %s\n%s", caller_id(), name, places
    )  # not its message: it may hold what was sent
    body = {"status": {"status": "FAILURE", "code": 500, "reason": "INTERNAL", "info": "the service failed; see its log"}}
    return Response(to_json(body), status=500, mimetype="application/json")
