"""The service as an ASGI app: a short way for predictions, and Seldon's Flask app for everything else.

An image on `/predict` and a JSON message on Seldon's prediction routes are read in the event loop, predicted on the compute
threads, and answered. Whatever else arrives, and every request that is refused, is handled by Seldon's app with our routes, so
that each refusal is written once.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from a2wsgi import WSGIMiddleware

from seldon.service import prometheus_metrics
from seldon.service.body_size_limit import MAX_BODY_BYTES
from seldon.service.callers import CALLER, Caller, Receive, valid_caller_id
from seldon.service.concurrency_limit import WAITING
from seldon.service.held_requests import computed
from seldon.service.json_encoding import to_json
from seldon.service.prediction_requests import LARGE_FILE_BYTES, PredictionRequest, source_of, whole
from seldon.service.request_errors import ABANDONED, RequestError
from seldon.service.response_headers import SECURITY_HEADERS
from seldon.service.rollout_requests import ROLLOUT_HEADER, is_of_rollout
from seldon.service.routes import V2_HEALTH, route_of
from seldon.service.seldon_messages import parse_message
from seldon.service.serving_protocols import CLIENT_HEADER, SELDON, SELDON_PREDICTIONS, V2
from seldon.service.tracing import Tracing

if TYPE_CHECKING:
    from seldon.microservice import ImageClassifier
    from seldon.service.grpc_server import GrpcCalls

Scope = dict[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]
FLASK_THREADS = WAITING + 10  # more than may wait, so that one is always free for 503
HEALTH_THREADS = 4
HEALTH = (SELDON.ready_path, SELDON.live_path, "/api/v1.0/health/status", "/metrics", *V2_HEALTH)
READY = (SELDON.ready_path, V2.ready_path)
HEADERS = [(name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]
JSON = (b"content-type", b"application/json")


@dataclass(frozen=True)
class _ShortRequest:
    """What the head of a prediction request says, where the short way is open to it."""

    path: str
    body_bytes: int
    caller_id: str | None
    client: str | None
    of_rollout: bool

    @classmethod
    def of(cls, scope: Scope) -> "_ShortRequest | None":
        """Read the head of a request; None for all that Seldon's app handles."""
        path, headers = scope["path"], dict(scope["headers"])
        content_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if path == "/predict":
            expected = content_type.startswith(b"image/") or content_type == b"application/octet-stream"
        else:
            expected = path in SELDON_PREDICTIONS and content_type == b"application/json"
        length = headers.get(b"content-length", b"")
        if not expected or scope["method"] != "POST" or b"origin" in headers or not length.isdigit():
            return None
        limit = MAX_BODY_BYTES if path == "/predict" else LARGE_FILE_BYTES  # a larger message would be parsed for too long here
        if not 0 < int(length) <= limit:
            return None

        def value(name: str) -> str | None:
            found = headers.get(name.lower().encode())
            return found.decode("latin-1") if found is not None else None

        caller_id = valid_caller_id(value("X-Request-Id") or "", value("traceparent") or "")
        return cls(path, int(length), caller_id, value(CLIENT_HEADER), is_of_rollout(value(ROLLOUT_HEADER)))


class ServiceApp:
    """Serves one model; `flask_app` is Seldon's, with our routes."""

    def __init__(self, model: "ImageClassifier", flask_app: Any) -> None:
        self.model, self.in_flight, self.is_ending = model, 0, False
        self.tracing = Tracing.from_environment(model.identity)
        self._flask = WSGIMiddleware(_until_its_end(flask_app), workers=FLASK_THREADS)
        self._health = WSGIMiddleware(flask_app, workers=HEALTH_THREADS)  # which clients that keep the others busy do not delay

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._flask(scope, receive, send)
            return
        if scope["http_version"] == "1.0":
            send = _saying_keep_alive(scope, send)
        caller = scope[CALLER] = Caller(receive, expects_continue=any(name == b"expect" for name, _ in scope["headers"]))
        if self.is_ending and scope["path"] in READY:
            caller.error = RequestError(
                503, "ending", "expected a service that goes on, got one that ends; send requests to another one"
            )
        self.in_flight += 1
        try:
            if self.tracing is None or route_of(scope["path"]) is None:
                await self._handle(scope, caller, send)
            else:
                caller.stages = []
                await self.tracing.traced(scope, caller.stages, send, partial(self._handle, scope, caller))
        finally:
            self.in_flight -= 1

    @cached_property
    def grpc_calls(self) -> "GrpcCalls":
        """The calls over gRPC, where another server than the app's own takes them."""
        from seldon.service.grpc_server import GrpcCalls

        return GrpcCalls(self)

    def close(self) -> None:
        """Before the process or the model ends: write the records that wait, and send spans."""
        self.model.close()
        for app in (self._flask, self._health):
            app.executor.shutdown(wait=False)
        for signal in (self.tracing, self.model.request_log):
            if signal is not None:
                signal.close()

    async def _handle(self, scope: Scope, caller: Caller, send: Send) -> None:
        request = _ShortRequest.of(scope)
        if request is None or not await self._answer(request, caller, send):
            await self._hand_over(scope, caller, send)

    async def _answer(self, request: _ShortRequest, caller: Caller, send: Send) -> bool:
        """Predict, and respond; False where Seldon's app must, with the error that `caller` then has."""
        predictor = self.model.metrics_label
        with ExitStack() as held:
            try:
                held.enter_context(self.model.handler.admission.receiving(request.body_bytes))
            except RequestError:
                return False
            held.enter_context(prometheus_metrics.in_flight.labels(predictor, request.path).track_inprogress())
            try:
                body = await self._predicted(request, caller, held)
            except asyncio.CancelledError:
                self._count(request, caller, ABANDONED)
                prometheus_metrics.refused.labels(predictor, "abandoned").inc()
                raise
            except Exception as error:
                caller.error = error
                return False
        headers = [JSON, (b"content-length", str(len(body)).encode()), *HEADERS]
        if request.caller_id:
            headers.append((b"x-request-id", request.caller_id.encode()))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        self._count(request, caller, 200)
        return True

    def _count(self, request: _ShortRequest, caller: Caller, code: int) -> None:
        if not request.of_rollout:
            prometheus_metrics.count_request(self.model.metrics_label, request.path, code, caller.begun)

    async def _predicted(self, request: _ShortRequest, caller: Caller, held: ExitStack) -> bytes:
        """The body of the response. What is `held` for the request is kept as long as it is computed, though its caller has gone."""
        content, of_images = await caller.body(), request.path == "/predict"
        contents = [content] if of_images else parse_message(content, self.model.info.side_pixels)
        source, stored = source_of("http" if of_images else "seldon", request.client), not request.of_rollout
        handed_in = PredictionRequest(contents, request.caller_id, source, stored, caller.has_gone, caller.begun, caller.stages)
        try:
            predictions = await computed(self.model.handler, handed_in, held)
        except asyncio.CancelledError:
            caller.is_gone()
            raise
        if not of_images:
            return to_json(self.model.seldon_response(predictions))
        return to_json(whole(predictions)[0].shown() | self.model.handler.context(predictions, caller.begun))

    async def _hand_over(self, scope: Scope, caller: Caller, send: Send) -> None:
        """Let Seldon's app respond. It runs to its end though the caller goes: a thread of its may wait for its response to be taken."""
        app = self._health if scope["path"] in HEALTH and scope["method"] == "GET" else self._flask
        task = asyncio.ensure_future(app(scope, caller.receive, send))
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            caller.is_gone()
            await task
            raise


def _saying_keep_alive(scope: Scope, send: Send) -> Send:
    """Say to a client of HTTP/1.0 that its connection stays open where it asked for that, or it would wait for the end.

    Gunicorn keeps it open without a word.
    """
    if dict(scope["headers"]).get(b"connection", b"").lower() != b"keep-alive":
        return send

    async def send_with_header(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start" and b"connection" not in dict(message["headers"]):
            message["headers"] = [*message["headers"], (b"connection", b"keep-alive")]
        await send(message)

    return send_with_header


def _until_its_end(flask_app: Any) -> Callable[..., Any]:
    """Let the app read bodies that declare no length, too: ASGI says where they end."""

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        environ["wsgi.input_terminated"] = True
        return flask_app(environ, start_response)

    return app
