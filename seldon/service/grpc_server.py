"""The service over gRPC, on a port of its own, in the event loop that serves HTTP too.

It is there where PREDICTIVE_UNIT_GRPC_SERVICE_PORT is set, as Seldon's operator and our local cluster do.
"""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc

from imageloop.errors import ImageLoopError
from seldon.service import prometheus_metrics
from seldon.service.body_size_limit import MAX_BODY_BYTES
from seldon.service.concurrency_limit import WAITING, num_workers
from seldon.service.error_handlers import location
from seldon.service.grpc_calls import Call
from seldon.service.grpc_methods import PREDICTING, GrpcMethods, Method
from seldon.service.prediction_requests import Stage
from seldon.service.request_errors import ABANDONED, RequestError

if TYPE_CHECKING:
    from seldon.service.asgi_app import ServiceApp

PORT_VARIABLE = "PREDICTIVE_UNIT_GRPC_SERVICE_PORT"
MAX_CALLS = 2 * WAITING  # each may hold a message before it is admitted
STATUS = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    499: grpc.StatusCode.CANCELLED,
    503: grpc.StatusCode.UNAVAILABLE,
}
OPTIONS = (
    ("grpc.max_receive_message_length", MAX_BODY_BYTES),
    ("grpc.max_send_message_length", MAX_BODY_BYTES),
    ("grpc.max_concurrent_streams", 1000),  # those that are too many get a reason instead of a reset
    ("grpc.max_metadata_size", 2**14),
    ("grpc.keepalive_time_ms", 60_000),  # a client that is gone without a word is noticed
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)
logger = logging.getLogger(__name__)


Answer = Callable[[bytes, Any], Awaitable[bytes]]  # from a call's bytes and gRPC's context


class GrpcServer:
    """Serves whatever answers a call; `answering` gives that by a call's path, None for a path that nothing answers."""

    def __init__(self, answering: Callable[[str], Answer | None]) -> None:
        # a port that is shared without need could be another replica's too, which would get calls of this one
        options = (*OPTIONS, ("grpc.so_reuseport", int(num_workers() > 1)))
        self._server = grpc.aio.server(options=options, maximum_concurrent_rpcs=MAX_CALLS)
        self._server.add_generic_rpc_handlers((_Handlers(answering),))

    async def start(self, port: int) -> None:
        """Raises: RuntimeError where the port is taken."""
        self._server.add_insecure_port(f"{os.environ.get('IMAGELOOP_BIND', '127.0.0.1')}:{port}")
        await self._server.start()

    async def stop(self, seconds: float) -> None:
        """Take no more calls, and give those that run so long to end."""
        await self._server.stop(seconds)


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, answering: Callable[[str], Answer | None]) -> None:
        self._answering = answering

    def service(self, handler_call_details: Any) -> Any:
        """gRPC's handler of a call, None where nothing answers it."""
        answer = self._answering(handler_call_details.method)
        return None if answer is None else grpc.unary_unary_rpc_method_handler(answer)


class GrpcCalls:
    """The calls of one app, which are among its requests in flight."""

    def __init__(self, app: "ServiceApp") -> None:
        self._app = app
        self._answers = {
            f"/{service}/{name}": self._answer(f"/{service}/{name}", method)
            for service, methods in GrpcMethods(app).by_service().items()
            for name, method in methods.items()
        }

    def answering(self, path: str) -> Answer | None:
        """What answers the calls of a path."""
        return self._answers.get(path)

    def _answer(self, path: str, method: Method) -> Answer:
        """What gRPC calls with the bytes of a message."""
        is_work = path.rpartition("/")[2] in PREDICTING

        async def answer(content: bytes, context: Any) -> bytes:
            metadata = {name: value for name, value in context.invocation_metadata() or () if isinstance(value, str)}
            stages: list[Stage] | None = [] if is_work else None
            call, begun, code = Call(self._app.model.handler, metadata, stages), time.time_ns(), 500
            self._app.in_flight += 1
            try:
                with call.held:
                    if is_work:
                        self._hold(call, path, len(content))
                    reply = await method(content, call)
                code = 200
                return reply
            except RequestError as error:
                code = error.code
                return await self._refuse(context, error)
            except asyncio.CancelledError:
                code = ABANDONED
                prometheus_metrics.refused.labels(self._predictor, "abandoned").inc()
                raise
            except Exception as error:
                logger.error("request %s failed: %s in %s", call.caller_id, type(error).__name__, location(error))
                return await self._refuse(context, RequestError(code, "internal", "the service failed; see its log"))
            finally:
                self._app.in_flight -= 1
                if is_work and not call.of_rollout:
                    prometheus_metrics.count_request(self._predictor, path, code, call.begun)
                if stages is not None and self._app.tracing is not None:
                    headers = [(name.encode(), value.encode()) for name, value in metadata.items()]
                    self._app.tracing.record({"method": "POST", "path": path, "headers": headers}, begun, code, stages)

        return answer

    @property
    def _predictor(self) -> str:
        return self._app.model.metrics_label

    def _hold(self, call: Call, path: str, num_bytes: int) -> None:
        """Hold the memory of a message for a call. Raises: RequestError where there is too little."""
        call.held.enter_context(self._app.model.handler.admission.receiving(num_bytes))
        call.held.enter_context(prometheus_metrics.in_flight.labels(self._predictor, path).track_inprogress())

    async def _refuse(self, context: Any, error: RequestError) -> bytes:
        prometheus_metrics.refused.labels(self._predictor, error.reason).inc()
        return await refuse_call(context, error)


async def refuse_call(context: Any, error: RequestError) -> bytes:
    """End a call with the status of an error, and its reason as HTTP names it."""
    if error.retry_after_seconds is not None:
        seconds = error.retry_after_seconds  # for callers, and for gRPC's own retries, which take it out
        context.set_trailing_metadata((("retry-after", str(seconds)), ("grpc-retry-pushback-ms", str(1000 * seconds))))
    status = STATUS.get(error.code, grpc.StatusCode.INTERNAL)
    await context.abort(status, f"{error.reason.upper()}: {error.info}")
    return b""  # never: `abort` raises


async def start_grpc(app: "ServiceApp") -> GrpcServer | None:
    """Serve over gRPC where a port is named. Raises: ImageLoopError where it is taken."""
    port = os.environ.get(PORT_VARIABLE)
    if not port:
        return None
    server = GrpcServer(GrpcCalls(app).answering)
    try:
        await server.start(int(port))
    except RuntimeError as error:
        raise ImageLoopError(
            f"{PORT_VARIABLE}: expected a free port for gRPC, got {port}, which is taken; name another one"
        ) from error
    return server
