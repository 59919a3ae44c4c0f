"""A receiver of OTLP over HTTP, which keeps what it is sent."""

import http.server
from typing import ClassVar

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Receiver(http.server.BaseHTTPRequestHandler):
    """Keeps the spans and log records that it is sent."""

    spans: ClassVar[list] = []
    logs: ClassVar[list] = []

    def do_POST(self) -> None:
        body = self._body()
        if self.path == "/v1/logs":
            export = ExportLogsServiceRequest.FromString(body)
            self.logs.extend(
                (part.resource, record)
                for part in export.resource_logs
                for scope in part.scope_logs
                for record in scope.log_records
            )
        else:
            export = ExportTraceServiceRequest.FromString(body)
            self.spans.extend(
                (part.resource, span) for part in export.resource_spans for scope in part.scope_spans for span in scope.spans
            )
        self.send_response(200)
        self.end_headers()

    def _body(self) -> bytes:
        if "Content-Length" in self.headers:
            return self.rfile.read(int(self.headers["Content-Length"]))
        parts = []
        while size := int(self.rfile.readline(), 16):  # in chunks, as Envoy sends it
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def log_message(self, *_) -> None:
        pass


def attributes(part) -> dict:
    return {one.key: one.value.string_value or one.value.int_value for one in part.attributes}
