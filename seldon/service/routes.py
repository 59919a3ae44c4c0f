"""The routes and the answers that Seldon's wrapper does not have: raw pictures, explanations, short feedback, prometheus_metrics, the page.

A blueprint, since Seldon's wrapper registers one before its own routes: it works under Seldon's own command too.
"""

import io
import logging
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from flask import Blueprint, Response, g, request, send_from_directory
from werkzeug.exceptions import ClientDisconnected, HTTPException

from imageloop.errors import ImageRefusedError
from imageloop.model.class_activation_map import draw_heat_map
from seldon.service import prometheus_metrics
from seldon.service.feedback_messages import parse_feedback, parse_seldon_feedback
from seldon.service.json_encoding import to_json
from seldon.service.monitor_metrics import read_loop
from seldon.service.openapi import document, page
from seldon.service.prediction_handler import source_of
from seldon.service.request_errors import RequestError, refused_picture
from seldon.service.seldon_messages import read_json, refuse_brackets
from seldon.service.serving_protocols import CLIENT_HEADER, ORIGINS_VARIABLE, SELDON_FEEDBACK, SELDON_PREDICTIONS

if TYPE_CHECKING:
    from flask.blueprints import BlueprintSetupState

    from seldon.microservice import ImageClassifier

logger = logging.getLogger(__name__)
WEB = Path(__file__).parents[1] / "web"
MAX_BODY_BYTES = 20 * 2**20
SILENT_UPLOAD_SECONDS = 5.0  # a caller that sends nothing for so long gives its place back
MAX_FIELDS = 10
FORM = "application/x-www-form-urlencoded"
WORK = ("/predict", "/explain", "/feedback", *SELDON_PREDICTIONS, *SELDON_FEEDBACK)
WATCHED = ("/health/ping", "/health/status", "/api/v1.0/health/status", "/metadata", "/api/v1.0/metadata", "/metrics", "/loop")
SHOWN = ("/", "/page.js", "/page.css", "/docs", "/openapi.json")
CALLER_ID = re.compile(r"[\w.-]{1,64}")
TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; style-src 'self'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}


def blueprint(model: "ImageClassifier") -> Blueprint:
    """All of it, bound to one model."""
    routes = Blueprint("imageloop", __name__)
    routes.record(_configure)
    service = _Service(model)
    routes.before_app_request(service.begin)
    routes.after_app_request(service.finish)
    routes.teardown_app_request(service.give_back)
    for rule, method, view in (
        ("/explain", "POST", service.explain),
        ("/feedback", "POST", service.feedback),
        ("/metrics", "GET", service.metrics),
        ("/loop", "GET", service.loop),
        ("/openapi.json", "GET", service.openapi),
        ("/docs", "GET", service.docs),
        ("/", "GET", service.page),
        ("/page.js", "GET", service.page),
        ("/page.css", "GET", service.page),
    ):
        routes.add_url_rule(rule, f"{view.__name__}{rule}".replace(".", "-"), view, methods=[method])
    routes.app_errorhandler(RequestError)(service.refuse)
    routes.app_errorhandler(HTTPException)(service.refuse_http)
    routes.app_errorhandler(UnicodeDecodeError)(service.refuse_multipart)
    routes.app_errorhandler(ValueError)(service.refuse_multipart)
    routes.app_errorhandler(TimeoutError)(service.refuse_slow)
    routes.app_errorhandler(RecursionError)(service.refuse_deep)
    routes.app_errorhandler(MemoryError)(service.refuse_large)
    return routes


def _configure(state: "BlueprintSetupState") -> None:
    state.app.after_request_funcs.get(None, []).clear()  # so that `finish` has the last word
    state.app.config["MAX_CONTENT_LENGTH"] = state.app.config["MAX_FORM_MEMORY_SIZE"] = MAX_BODY_BYTES


class _Service:
    """The views, and what happens before and after each of them."""

    def __init__(self, model: "ImageClassifier") -> None:
        self._model = model

    def begin(self) -> Response | None:
        """Count the request in, refuse what no route takes, and answer raw pictures and feedback before Seldon's routes do."""
        g.begun, g.begun_cpu = time.perf_counter(), time.thread_time()
        g.place = None
        if request.path not in (*WORK, *WATCHED, *SHOWN):
            raise RequestError(404, "no_such_route", "wanted a route of /docs, found another")
        _refuse_other_origins()
        if request.path not in WORK:
            return None
        if request.method != "POST":
            return self._refused_method()
        self._take_place()
        _allow_silence(SILENT_UPLOAD_SECONDS)
        if (request.content_length or 0) > MAX_BODY_BYTES:
            raise RequestError(413, "too_large", f"wanted at most {MAX_BODY_BYTES} bytes, found {request.content_length}")
        _refuse_large_forms()
        if request.path in SELDON_FEEDBACK:
            return self.seldon_feedback()
        if request.path == "/predict" and _is_picture():
            return self.predict()
        if request.path in ("/predict", *SELDON_PREDICTIONS) and not _is_message():
            raise _wrong_type("application/json, multipart/form-data" + (", image/*" if request.path == "/predict" else ""))
        return None

    def predict(self) -> Response:
        (answer,) = self._model.answering.answer([_body()], caller_id(), source_of("http", request.headers.get(CLIENT_HEADER)))
        return _json(
            {
                "request_id": answer.request_id,
                "label": answer.label,
                "probability": answer.probability,
                "probabilities": answer.probabilities,
                "in_distribution": answer.in_distribution,
                "model": self._model.answering.speaker(),
                "milliseconds": round(1000 * (time.perf_counter() - g.begun), 1),
            }
        )

    def explain(self) -> Response:
        if not _is_picture():
            raise _wrong_type("image/*, application/octet-stream")
        answering = self._model.answering
        content = _body()
        try:
            with answering.admission.working():
                if request.accept_mimetypes.best_match(["application/json", "image/png"]) == "image/png":
                    out = io.BytesIO()
                    draw_heat_map(answering.predictor, content).save(out, "PNG")
                    return Response(out.getvalue(), mimetype="image/png")
                answer, heat_hw = answering.predictor.explain(content)
        except ImageRefusedError as error:
            raise refused_picture(error) from error
        heat = [[round(float(value), 4) for value in row] for row in heat_hw]
        return _json({"label": answer.label, "probability": answer.probability, "heat_map": heat, "model": answering.speaker()})

    def feedback(self) -> Response:
        request_id, label = parse_feedback(_json_body(), self._model.info.class_names)
        self._model.answering.learn(request_id, label, source_of("http", request.headers.get(CLIENT_HEADER)))
        return _json({"request_id": request_id})

    def seldon_feedback(self) -> Response:
        request_id, label = parse_seldon_feedback(_json_body(), self._model.info.class_names)
        self._model.answering.learn(request_id, label, source_of("seldon", request.headers.get(CLIENT_HEADER)))
        return _json({"meta": {"puid": request_id}})

    def metrics(self) -> Response:
        text, content_type = prometheus_metrics.exposition()
        return Response(text, content_type=content_type)

    def loop(self) -> Response:
        """How what serves fares, as the watch wrote it last; nothing where nobody watches."""
        return _json(read_loop())

    def openapi(self) -> Response:
        return _json(document(self._model.info, self._model.model_name))

    def docs(self) -> Response:
        return Response(page(document(self._model.info, self._model.model_name)), mimetype="text/html")

    def page(self) -> Response:
        return send_from_directory(WEB, request.path[1:] or "index.html")

    def finish(self, response: Response) -> Response:
        """Security headers, and the figures of a request that did work.

        Seldon's app lets any origin in, and with it any web page that a colleague opens, which could poison the feedback.
        """
        for name in [name for name in dict(response.headers) if name.startswith("Access-Control-")]:
            del response.headers[name]
        response.headers.update(SECURITY_HEADERS)
        if wanted := caller_id():
            response.headers["X-Request-Id"] = wanted
        if request.path in WORK:
            prometheus_metrics.requests.labels(self._model.predictor_name, request.path, response.status_code).inc()
            prometheus_metrics.seconds.labels(self._model.predictor_name).observe(time.perf_counter() - g.begun)
            prometheus_metrics.cpu_seconds.labels(self._model.predictor_name).inc(time.thread_time() - g.begun_cpu)
        return response

    def give_back(self, _error: BaseException | None) -> None:
        place = g.pop("place", None)
        if place is not None:
            place.__exit__(None, None, None)
            prometheus_metrics.in_flight.labels(self._model.predictor_name, request.path).dec()

    def refuse(self, error: RequestError) -> Response:
        prometheus_metrics.refused.labels(self._model.predictor_name, error.reason).inc()
        response = _json(error.body(), error.code)
        if error.retry_after_seconds is not None:
            response.headers["Retry-After"] = str(error.retry_after_seconds)
        if error.code in (408, 413):
            response.headers["Connection"] = "close"
        if error.code == 413:
            _let_pass()
        return response

    def refuse_http(self, error: HTTPException) -> Response:
        if isinstance(error, ClientDisconnected):
            return self.refuse_slow()
        code = error.code or 500
        reason = {413: "too_large", 404: "no_such_route", 405: "wrong_method", 415: "wrong_type"}.get(code, "bad_request")
        return self.refuse(RequestError(code, reason, error.name))

    def refuse_multipart(self, error: ValueError) -> Response:
        """Seldon's wrapper reads each part of a form as JSON or text."""
        if request.mimetype != "multipart/form-data" or not _is_from_forms(error):
            return self.fail(error)
        return self.refuse(
            RequestError(400, "wrong_field", "wanted the picture's file in the field binData, found another field")
        )

    def refuse_deep(self, _error: RecursionError) -> Response:
        return self.refuse(RequestError(400, "not_json", "wanted a JSON object, found one that is nested too deeply"))

    def refuse_large(self, _error: MemoryError) -> Response:
        return self.refuse(RequestError(413, "too_large", "wanted a message that fits into memory, found none"))

    def refuse_slow(self, _error: TimeoutError | None = None) -> Response:
        return self.refuse(
            RequestError(408, "too_slow", f"wanted the rest of the body, found silence for {SILENT_UPLOAD_SECONDS} s")
        )

    def fail(self, error: Exception) -> Response:
        """A defect of ours: the log has it, without what was sent; the caller is told that it is not the caller's."""
        logger.error("request %s failed: %s in %s", caller_id(), type(error).__name__, _place(error))
        return self.refuse(RequestError(500, "internal", "the service failed; its log says where"))

    def _take_place(self) -> None:
        place = self._model.answering.admission.admitted()
        place.__enter__()
        g.place = place
        prometheus_metrics.in_flight.labels(self._model.predictor_name, request.path).inc()

    def _refused_method(self) -> Response:
        response = self.refuse(RequestError(405, "wrong_method", "wanted POST, found another method"))
        response.headers["Allow"] = "POST"
        return response


def caller_id() -> str | None:
    """What a caller calls the request: its own id, or that of the trace which it belongs to. None of anything else.

    Source: W3C Trace Context, the header `traceparent`.
    """
    trace = TRACEPARENT.fullmatch(request.headers.get("traceparent", ""))
    wanted = request.headers.get("X-Request-Id") or (trace[1] if trace else "")
    return wanted if CALLER_ID.fullmatch(wanted) else None


def _refuse_other_origins() -> None:
    """A form on any web page can send a request from the browser of a colleague; only the answer would be kept from it."""
    origin = request.headers.get("Origin")
    allowed = os.environ.get(ORIGINS_VARIABLE, "").split()
    if origin and urlsplit(origin).netloc != request.host and origin not in allowed:
        raise RequestError(
            403, "other_origin", f"wanted a request from our own page, found another origin; {ORIGINS_VARIABLE} may allow it"
        )


def _refuse_large_forms() -> None:
    """Before a form is parsed, which is Python's work and takes many times its size; and before Seldon's wrapper reads its texts as JSON.

    Raises: RequestError.
    """
    if request.mimetype == FORM and request.get_data(parse_form_data=False).count(b"&") > MAX_FIELDS:
        raise _wrong_type("application/json, multipart/form-data, image/*")  # a picture, most likely: what curl sends it as
    if request.mimetype == "multipart/form-data":
        for text in request.form.values():
            refuse_brackets(text)


def _is_picture() -> bool:
    return bool(request.mimetype.startswith("image/") or request.mimetype == "application/octet-stream")


def _body() -> bytes:
    content: bytes = request.get_data(cache=False)
    if not content:
        raise RequestError(400, "empty_body", "wanted a picture's bytes, found an empty body")
    return content


def _is_message() -> bool:
    """JSON, or a form; Seldon's own client sends JSON in a form's field."""
    return request.mimetype in ("application/json", "multipart/form-data") or (
        request.mimetype == FORM and "json" in request.form
    )


def _json_body() -> Any:
    if request.mimetype == FORM and "json" in request.form:
        return read_json(request.form["json"])
    if request.mimetype != "application/json":
        raise _wrong_type("application/json")
    return read_json(request.get_data(cache=False))


def _let_pass() -> None:
    """Read on for a while: a caller whose connection is closed while it writes never sees the answer."""
    stream, deadline, left = request.environ["wsgi.input"], time.monotonic() + SILENT_UPLOAD_SECONDS, 4 * MAX_BODY_BYTES
    try:
        while left > 0 and time.monotonic() < deadline and (part := stream.read(min(left, 2**16))):
            left -= len(part)
    except OSError:
        return


def _wrong_type(wanted: str) -> RequestError:
    found = request.mimetype[:60] or "none"
    return RequestError(
        415, "wrong_type", f"wanted the content type {wanted}, found {found}; with curl: -H 'Content-Type: image/jpeg'"
    )


def _allow_silence(seconds: float) -> None:
    socket = request.environ.get("gunicorn.socket")
    if socket is not None:
        socket.settimeout(seconds)


def _is_from_forms(error: Exception) -> bool:
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_name == "get_multi_form_data_request":
            return True
        trace = trace.tb_next
    return False


def _place(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else "?"


def _json(value: Any, code: int = 200) -> Response:
    return Response(to_json(value), status=code, mimetype="application/json")
