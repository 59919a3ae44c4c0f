"""Traces and the request log: what a receiver of OTLP gets, and that nobody waits for one."""

import json
import socket

import pytest

from seldon.delivery.clusters.local.replicas import serving_python
from tests.seldon.otlp_receiver import Receiver, attributes

pytestmark = pytest.mark.xdist_group("service")
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
COMMAND = [str(serving_python()), "-m", "seldon.launcher"]


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


def test_the_request_log_is_sent_with_the_callers_trace_and_without_embeddings(
    start_service, package, call, colours, receiver, eventually, tmp_path
):
    service = start_service(
        COMMAND, package, OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=f"{receiver}/v1/logs", OTEL_BLRP_SCHEDULE_DELAY="200",
        IMAGELOOP_RECORDS=str(tmp_path / "records"),
    )  # fmt: skip

    _, answer, _ = call(f"{service.url}/predict", colours.red, "image/png", traceparent=f"00-{TRACE}-{PARENT}-01")
    body = json.dumps({"request_id": json.loads(answer)["request_id"], "label": "blue"}).encode()
    call(f"{service.url}/feedback", body, "application/json")

    assert eventually(lambda: len(Receiver.logs) == 2)
    by_kind = {attributes(record)["kind"]: record for _, record in Receiver.logs}
    sent = json.loads(by_kind["prediction"].body.string_value)
    (line,) = [line for line in written(tmp_path / "records") if line["kind"] == "prediction"]
    assert sent == {name: value for name, value in line.items() if name != "embedding"}
    assert by_kind["prediction"].trace_id.hex() == TRACE
    assert attributes(by_kind["prediction"])["label"] == "red"
    assert attributes(by_kind["feedback"])["ground_truth"] == "blue"
    assert attributes(Receiver.logs[0][0])["imageloop.version"] == "7"
    assert Receiver.spans == [], "no endpoint takes them"


def written(folder) -> list[dict]:
    return [json.loads(line) for file in folder.glob("*.jsonl") for line in file.read_text().splitlines()]
