"""Traces: what a receiver of OTLP gets, and that nobody waits for one."""

import http.server
import socket
import threading
from typing import ClassVar

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from seldon.delivery.clusters.local.replicas import serving_python

pytestmark = pytest.mark.xdist_group("service")
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
COMMAND = [str(serving_python()), "-m", "seldon.launcher"]


class Receiver(http.server.BaseHTTPRequestHandler):
    """Keeps the spans that it is sent."""

    spans: ClassVar[list] = []

    def do_POST(self) -> None:
        export = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
        self.spans.extend(
            (part.resource, span) for part in export.resource_spans for scope in part.scope_spans for span in scope.spans
        )
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def receiver():
    Receiver.spans = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def attributes(part) -> dict:
    return {one.key: one.value.string_value or one.value.int_value for one in part.attributes}


def test_each_request_is_a_span_of_its_callers_trace_with_the_parts_of_the_work(
    start_service, package, call, colours, receiver, eventually
):
    service = start_service(COMMAND, package, OTEL_EXPORTER_OTLP_ENDPOINT=receiver, OTEL_BSP_SCHEDULE_DELAY="200")

    call(f"{service.url}/predict", colours.red, "image/png", traceparent=f"00-{TRACE}-{PARENT}-01")
    call(f"{service.url}/predict", b"no image", "image/png")

    assert eventually(lambda: sum(span.name == "POST /predict" for _, span in Receiver.spans) == 2)
    by_name = {span.name: span for _, span in Receiver.spans if span.trace_id.hex() == TRACE}
    request = by_name["POST /predict"]
    assert request.parent_span_id.hex() == PARENT
    assert attributes(request)["http.response.status_code"] == 200
    assert set(by_name) == {"POST /predict", "decode", "model", "record"}
    parts = [by_name[name] for name in ("decode", "model", "record")]
    assert {part.parent_span_id for part in parts} == {request.span_id}
    times = [request.start_time_unix_nano, *(part.start_time_unix_nano for part in parts), request.end_time_unix_nano]
    assert times == sorted(times)
    resource = attributes(Receiver.spans[0][0])
    assert (resource["service.name"], resource["imageloop.version"]) == ("imageloop", "7")
    (refused,) = [span for _, span in Receiver.spans if span.name == "POST /predict" and span.trace_id.hex() != TRACE]
    assert attributes(refused)["http.response.status_code"] == 400


def test_an_endpoint_that_hangs_delays_no_request_and_no_end(start_service, package, call, colours):
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        endpoint = f"http://127.0.0.1:{hanging.getsockname()[1]}"
        service = start_service(COMMAND, package, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_BSP_SCHEDULE_DELAY="10")
        codes = [call(f"{service.url}/predict", colours.red, "image/png")[0] for _ in range(50)]
        service.process.terminate()

        assert codes == [200] * 50
        assert service.process.wait(8) == 0
