"""Turn every error of a request into a response in Seldon's status shape."""

import logging
from pathlib import Path

from flask import Blueprint, Response, request
from werkzeug.exceptions import ClientDisconnected, HTTPException, MethodNotAllowed

from seldon.service import prometheus_metrics
from seldon.service.body_size_limit import declared_bytes
from seldon.service.callers import SILENT_UPLOAD_SECONDS, caller_of
from seldon.service.json_encoding import to_json
from seldon.service.request_checks import caller_id, drain
from seldon.service.request_errors import RequestError

MANY_BYTES = 2**16  # of a body that is refused unread: a client that still sends it would not see the response
logger = logging.getLogger(__name__)


def json_response(value: object, code: int = 200) -> Response:
    """A response with a JSON body."""
    return Response(to_json(value), status=code, mimetype="application/json")


class ErrorHandlers:
    """The handlers of a blueprint; each error is counted for the predictor."""

    def __init__(self, predictor: str) -> None:
        self._predictor = predictor

    def register(self, routes: Blueprint) -> None:
        """Handle the errors of the whole app, Seldon's own routes included."""
        routes.app_errorhandler(RequestError)(self.refuse)
        routes.app_errorhandler(HTTPException)(self.refuse_http)
        routes.app_errorhandler(UnicodeDecodeError)(self.refuse_multipart)
        routes.app_errorhandler(ValueError)(self.refuse_multipart)
        routes.app_errorhandler(TimeoutError)(self.refuse_slow)
        routes.app_errorhandler(ConnectionError)(self.refuse_gone)
        routes.app_errorhandler(RecursionError)(self.refuse_deep)
        routes.app_errorhandler(MemoryError)(self.refuse_large)

    def refuse(self, error: RequestError) -> Response:
        prometheus_metrics.refused.labels(self._predictor, error.reason).inc()
        protocols = {"error": error.info} if request.path.startswith("/v2") else {}  # what clients of Open Inference show
        response = json_response(error.body() | protocols, error.code)
        if error.retry_after_seconds is not None:
            response.headers["Retry-After"] = str(error.retry_after_seconds)
        unread = error.code == 413 or (error.reason == "full" and declared_bytes() > MANY_BYTES)
        if unread or error.code == 408:
            response.headers["Connection"] = "close"
        caller = caller_of(request.environ)  # under ASGI the connection is closed where a part of the body was not taken
        if unread if caller is None else not caller.waits_for_continue():
            drain()
        return response

    def refuse_http(self, error: HTTPException) -> Response:
        if isinstance(error, ClientDisconnected):  # Werkzeug's word for whatever ends a body early
            caller = caller_of(request.environ)
            return self.refuse_gone() if caller is not None and caller.has_gone() else self.refuse_slow()
        code = error.code or 500
        reason = {413: "too_large", 404: "no_such_route", 405: "wrong_method", 415: "wrong_type"}.get(code, "bad_request")
        response = self.refuse(RequestError(code, reason, error.name))
        if isinstance(error, MethodNotAllowed) and error.valid_methods:
            response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
        return response

    def refuse_multipart(self, error: ValueError) -> Response:
        """Seldon's wrapper reads each part of a form as JSON or text."""
        if request.mimetype != "multipart/form-data" or not _is_from_forms(error):
            return self.fail(error)
        return self.refuse(RequestError(400, "wrong_field", "expected the image's file in the field binData, got another field"))

    def refuse_deep(self, _error: RecursionError) -> Response:
        return self.refuse(RequestError(400, "not_json", "expected a JSON object, got one that is nested too deeply"))

    def refuse_large(self, _error: MemoryError) -> Response:
        return self.refuse(RequestError(413, "too_large", "expected a message that fits into memory, got none"))

    def refuse_slow(self, _error: TimeoutError | None = None) -> Response:
        return self.refuse(
            RequestError(408, "too_slow", f"expected the rest of the body, got silence for {SILENT_UPLOAD_SECONDS} s")
        )

    def refuse_gone(self, _error: ConnectionError | None = None) -> Response:
        return self.refuse(RequestError(499, "abandoned", "the caller closed the connection before the end of the body"))

    def fail(self, error: Exception) -> Response:
        """Respond to an error of the service itself, and log where it happened without what was sent."""
        logger.error("request %s failed: %s in %s", caller_id(), type(error).__name__, location(error))
        return self.refuse(RequestError(500, "internal", "the service failed; see its log"))


def _is_from_forms(error: Exception) -> bool:
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_name == "get_multi_form_data_request":
            return True
        trace = trace.tb_next
    return False


def location(error: Exception) -> str:
    """The file and line where an error was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else "?"
