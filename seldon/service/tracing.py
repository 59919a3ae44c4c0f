"""Traces by OpenTelemetry: a span for each request, with its parts, sent by OTLP where an endpoint is configured.

The SDK reads its own variables: OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER and the others. Without an endpoint none of it is
imported. Spans are made when their request is over, and sent by a thread of the SDK, which drops them where the endpoint is slow.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any, Self

from seldon.service.prediction_requests import Identity, Stage
from seldon.service.telemetry import end, is_configured, resource_of

Send = Callable[[dict[str, Any]], Awaitable[None]]
CONTEXT_HEADERS = (b"traceparent", b"tracestate")
FAULT = 500


class Tracing:
    """The spans of one service."""

    def __init__(self, provider: Any) -> None:
        self._provider, self._tracer = provider, provider.get_tracer("imageloop")

    @classmethod
    def from_environment(cls, identity: Identity) -> Self | None:
        """None where no endpoint is configured."""
        if not is_configured("TRACES"):
            return None
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        provider = TracerProvider(resource=resource_of(identity))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        return cls(provider)

    async def traced(
        self, scope: dict[str, Any], stages: list[Stage], send: Send, handle: Callable[[Send], Awaitable[None]]
    ) -> None:
        """Handle a request, and make its span when it is over; `stages` are filled meanwhile."""
        begun, status = time.time_ns(), 0

        async def send_and_see(message: dict[str, Any]) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await handle(send_and_see)
        finally:
            self.record(scope, begun, status, stages)

    def close(self) -> None:
        """Send what waits, for a short time."""
        end(self._provider)

    def record(self, scope: dict[str, Any], begun: int, status: int, stages: list[Stage]) -> None:
        """Make the span of a request that is over, with its stages; `begun` in nanoseconds since 1970."""
        from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        sent = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in CONTEXT_HEADERS}
        attributes = {
            "http.request.method": scope["method"],
            "url.path": scope["path"],
            "http.response.status_code": status,
        }
        span = self._tracer.start_span(
            f"{scope['method']} {scope['path']}",
            TraceContextTextMapPropagator().extract(sent),
            SpanKind.SERVER,
            attributes,
            start_time=begun,
        )
        for stage in stages:
            part = self._tracer.start_span(
                stage.name, set_span_in_context(span), start_time=stage.begun, attributes=stage.attributes
            )
            part.end(stage.ended)
        if status >= FAULT:
            span.set_status(StatusCode.ERROR)
        span.end()
