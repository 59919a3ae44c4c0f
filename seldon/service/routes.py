"""The routes that Seldon's wrapper does not have: raw images, explanations, short feedback, metrics, the page.

They are a blueprint, which Seldon's wrapper registers before its own routes: so they work under Seldon's own command too.
"""

import io
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, g, request

from seldon.service import prometheus_metrics
from seldon.service.body_size_limit import MAX_BODY_BYTES, declared_bytes, refuse_large_body
from seldon.service.callers import SILENT_UPLOAD_SECONDS, caller_of
from seldon.service.error_handlers import ErrorHandlers, json_response
from seldon.service.feedback_messages import parse_feedback, parse_seldon_feedback
from seldon.service.monitor_metrics import read_loop
from seldon.service.open_inference_routes import OpenInferenceViews
from seldon.service.prediction_requests import LARGE_FILE_BYTES, ServedPrediction, source_of, whole
from seldon.service.request_checks import (
    abandonment,
    allow_silence,
    caller_id,
    handed_in,
    images_of_message,
    is_image,
    is_message,
    of_rollout,
    read_body,
    read_json_body,
    refuse_large_forms,
    refuse_other_origins,
    wrong_type,
)
from seldon.service.request_errors import RequestError
from seldon.service.response_headers import SECURITY_HEADERS
from seldon.service.seldon_messages import encoded_images
from seldon.service.serving_protocols import CLIENT_HEADER, SELDON_FEEDBACK, SELDON_PREDICTIONS, V2, V2_INFER, V2_MODELS
from seldon.service.similar_images import similar_images
from seldon.service.web_pages import PAGES, WebPages

if TYPE_CHECKING:
    from flask.blueprints import BlueprintSetupState

    from seldon.microservice import ImageClassifier

WORK = ("/predict", "/explain", "/feedback", *SELDON_PREDICTIONS, *SELDON_FEEDBACK)
V2_HEALTH = (V2.live_path, V2.ready_path)
HEALTH = ("/health/ping", "/health/status", "/api/v1.0/health/status", "/metadata", "/api/v1.0/metadata", "/metrics", "/loop")


def route_of(path: str) -> str | None:
    """The route of a path that does work, as metrics name it; None for all other paths."""
    if path.startswith(V2_MODELS) and path.endswith("/infer"):
        return V2_INFER
    return path if path in WORK else None


def _is_known(path: str) -> bool:
    return path in (*WORK, *HEALTH, *PAGES, *V2_HEALTH, "/v2") or path.startswith(V2_MODELS)


def blueprint(model: "ImageClassifier") -> Blueprint:
    """All routes, bound to one model."""
    routes = Blueprint("imageloop", __name__)
    routes.record(_configure)
    service = _Service(model)
    routes.before_app_request(service.begin)
    routes.after_app_request(service.finish)
    routes.teardown_app_request(service.release)
    for rule, method, view in (
        ("/explain", "POST", service.explain),
        ("/feedback", "POST", service.feedback),
        ("/metrics", "GET", service.metrics),
        ("/loop", "GET", service.loop),
        *((path, "GET", view) for path, view in WebPages(model).views().items()),
    ):
        routes.add_url_rule(rule, f"{view.__name__}{rule}".replace(".", "-"), view, methods=[method])
    OpenInferenceViews(model).register(routes)
    service.errors.register(routes)
    return routes


def _configure(state: "BlueprintSetupState") -> None:
    state.app.after_request_funcs.get(None, []).clear()  # so that `finish` runs last
    # One more than allowed: a body without a declared length is cut off there, and must be seen to be too large.
    state.app.config["MAX_CONTENT_LENGTH"] = state.app.config["MAX_FORM_MEMORY_SIZE"] = MAX_BODY_BYTES + 1


class _Service:
    """The views of the service, and what runs before and after each of them."""

    def __init__(self, model: "ImageClassifier") -> None:
        self._model = model
        self.errors = ErrorHandlers(model.metrics_label)

    def begin(self) -> Response | None:
        """Admit the request, reject what no route accepts, and handle raw images and feedback before Seldon's own routes do."""
        caller = caller_of(request.environ)
        g.begun, g.begun_cpu = caller.begun if caller else time.perf_counter(), time.thread_time()
        if caller is not None and caller.error is not None:
            raise caller.error
        if not _is_known(request.path):
            raise RequestError(404, "no_such_route", f"expected a route of /docs, got '{request.path[:80]}'")
        refuse_other_origins()
        if route_of(request.path) is None:
            return None
        if request.method != "POST":
            return self._refuse_method()
        self._admit()
        allow_silence(SILENT_UPLOAD_SECONDS)
        refuse_large_body()
        refuse_large_forms()
        view = self._view_before_seldon()
        if view is not None:
            return view()
        if request.path in ("/predict", *SELDON_PREDICTIONS) and not is_message():
            raise wrong_type(
                "application/json, multipart/form-data"
                + (", image/*, application/octet-stream" if request.path == "/predict" else "")
            )
        return None

    def _view_before_seldon(self) -> Callable[[], Response] | None:
        """Return our view of a path that Seldon's wrapper has too: feedback, and raw images on /predict."""
        if request.path in SELDON_FEEDBACK:
            return self.seldon_feedback
        if request.path != "/predict":
            return None
        if is_image():
            return self.predict
        images = images_of_message()
        return None if images is None else partial(self.predict_list, images)

    def predict(self) -> Response:
        predictions = whole(self._predict([read_body()]))
        return json_response(predictions[0].shown() | self._model.handler.context(predictions, g.begun))

    def predict_list(self, images: Any) -> Response:
        """Predict the images of `{"images": [base64, ...]}`; a bad one has an error in its place."""
        predictions = self._predict(encoded_images(images))
        shown = [one.shown() if isinstance(one, ServedPrediction) else {"error": one.shown()} for one in predictions]
        return json_response({"predictions": shown} | self._model.handler.context(predictions, g.begun))

    def _predict(self, contents: list[bytes]) -> list[ServedPrediction | RequestError]:
        return self._model.handler.submit(handed_in(contents, "http")).result()

    def explain(self) -> Response:
        if not is_image():
            raise wrong_type("image/*, application/octet-stream")
        handler = self._model.handler
        drawn = request.accept_mimetypes.best_match(["application/json", "image/png"]) == "image/png"
        explained = handler.explain(read_body(), abandonment(), drawn=drawn)
        if drawn:
            out = io.BytesIO()
            explained.save(out, "PNG")
            return Response(out.getvalue(), mimetype="image/png")
        prediction, heat_hw = explained
        heat = [[round(float(value), 4) for value in row] for row in heat_hw]
        return json_response(
            {
                "label": prediction.label,
                "probability": prediction.probability,
                "heat_map": heat,
                "model": handler.model_identity(),
            }
            | similar_images(self._model.examples, prediction.embedding_D)
        )

    def feedback(self) -> Response:
        request_id, label = parse_feedback(read_json_body(), self._model.info.class_names)
        self._model.handler.store_feedback(request_id, label, source_of("http", request.headers.get(CLIENT_HEADER)))
        return json_response({"request_id": request_id})

    def seldon_feedback(self) -> Response:
        request_id, label = parse_seldon_feedback(read_json_body(), self._model.info.class_names)
        self._model.handler.store_feedback(request_id, label, source_of("seldon", request.headers.get(CLIENT_HEADER)))
        return json_response({"meta": {"puid": request_id}})

    def metrics(self) -> Response:
        text, content_type = prometheus_metrics.exposition()
        return Response(text, content_type=content_type)

    def loop(self) -> Response:
        """The newest status of the monitor; empty where there is none."""
        return json_response(read_loop())

    def finish(self, response: Response) -> Response:
        """Set security headers, and count the request.

        Seldon's app allows any origin, and thereby any web page that a colleague opens, which could poison the feedback.
        """
        for name in [name for name in dict(response.headers) if name.startswith("Access-Control-")]:
            del response.headers[name]
        response.headers.update(SECURITY_HEADERS)
        if identity := caller_id():
            response.headers["X-Request-Id"] = identity
        route = route_of(request.path)
        if route is not None and not of_rollout():
            prometheus_metrics.count_request(self._model.metrics_label, route, response.status_code, g.begun)
            prometheus_metrics.cpu_seconds.labels(self._model.metrics_label).inc(time.thread_time() - g.begun_cpu)
        return response

    def release(self, _error: BaseException | None) -> None:
        """Free the request's slot, however it ended."""
        admitted: ExitStack | None = g.pop("admitted", None)
        if admitted is not None:
            admitted.close()

    def _admit(self) -> None:
        """Take a slot of the concurrency limit, until `release`. Raises: RequestError where it is full."""
        with ExitStack() as stack:
            size = declared_bytes()
            stack.enter_context(self._model.handler.admission.admitted(size, large=size > LARGE_FILE_BYTES))
            route = route_of(request.path)
            stack.enter_context(prometheus_metrics.in_flight.labels(self._model.metrics_label, route).track_inprogress())
            g.admitted = stack.pop_all()

    def _refuse_method(self) -> Response:
        response = self.errors.refuse(RequestError(405, "wrong_method", "expected POST, got another method"))
        response.headers["Allow"] = "POST"
        return response
