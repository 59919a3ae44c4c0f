"""The routes of the Open Inference Protocol (V2) on the service, beside Seldon's own."""

from typing import TYPE_CHECKING

from flask import Blueprint, Response, request

from seldon.service.error_handlers import json_response
from seldon.service.open_inference import HEADER, inference_response, model_metadata, parse_inference, refuse_other_models
from seldon.service.prediction_requests import whole
from seldon.service.request_checks import handed_in, read_body, wrong_type
from seldon.service.request_errors import RequestError
from seldon.service.serving_protocols import V2, V2_MODELS

if TYPE_CHECKING:
    from seldon.microservice import ImageClassifier

MODEL = f"{V2_MODELS}<name>"
VERSION = f"{MODEL}/versions/<version>"


class OpenInferenceViews:
    """The views of one model, which has one version here."""

    def __init__(self, model: "ImageClassifier") -> None:
        self._model = model

    def register(self, routes: Blueprint) -> None:
        """Add the routes to the service's."""
        for rule, method, view in (
            ("/v2", "GET", self.server),
            (V2.live_path, "GET", self.live),
            (V2.ready_path, "GET", self.ready),
            *((place, "GET", self.metadata) for place in (MODEL, VERSION)),
            *((f"{place}/ready", "GET", self.model_ready) for place in (MODEL, VERSION)),
            *((f"{place}/infer", "POST", self.infer) for place in (MODEL, VERSION)),
        ):
            routes.add_url_rule(rule, f"{view.__name__} {rule}", view, methods=[method])

    def server(self) -> Response:
        return json_response({"name": "imageloop", "version": "2", "extensions": ["binary_tensor_data"]})

    def live(self) -> Response:
        return json_response({"live": True})

    def ready(self) -> Response:
        """Raises: RequestError while the model is not loaded."""
        return json_response({"ready": self._model.handler is not None})

    def metadata(self, name: str, version: str | None = None) -> Response:
        self._check(name, version)
        info = self._model.info
        return json_response(model_metadata(self._served, info.class_names, info.side_pixels))

    def model_ready(self, name: str, version: str | None = None) -> Response:
        self._check(name, version)
        return json_response({"name": name, "ready": self._model.handler is not None})

    def infer(self, name: str, version: str | None = None) -> Response:
        self._check(name, version)
        if request.mimetype not in ("application/json", "application/octet-stream", ""):  # none: Triton's client
            raise wrong_type("application/json, application/octet-stream")
        given = parse_inference(read_body(), _json_bytes(), self._model.info.side_pixels)
        predictions = whole(self._model.handler.submit(handed_in(given.contents, "v2")).result())
        identity = self._model.handler.model_identity(predictions)
        parameters = {name: identity[name] for name in ("predictor", "precision")}
        body, json_bytes = inference_response(given, self._served, predictions, parameters)
        if json_bytes is None:
            return Response(body, mimetype="application/json")
        return Response(body, mimetype="application/octet-stream", headers={HEADER: str(json_bytes)})

    @property
    def _served(self) -> tuple[str, str]:
        return self._model.identity.model_name, self._model.identity.model_version

    def _check(self, name: str, version: str | None) -> None:
        refuse_other_models(self._served, name, version)


def _json_bytes() -> int | None:
    """The length of the JSON before binary tensors; None where the whole body is JSON. Raises: RequestError for no number."""
    found = request.headers.get(HEADER)
    if found is not None and not found.isdecimal():
        raise RequestError(400, "wrong_field", f"expected a number of bytes in {HEADER}, got something else")
    return int(found) if found is not None else None
