"""Spans of the gateway, as a receiver of OTLP gets them."""

import pytest

from seldon.delivery.render_manifest import render
from tests.seldon.otlp_receiver import Receiver, attributes

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
pytestmark = pytest.mark.xdist_group("cluster")


def test_a_request_is_a_span_of_the_gateway_between_the_callers_and_the_services(
    make_cluster,
    predictor_spec,
    call,
    colours,
    receiver,
    eventually,
    monkeypatch,
):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
    cluster = make_cluster(traces=receiver)
    cluster.apply(render("pets", "default", [predictor_spec("1")]))

    answer = call(
        f"{cluster.describe('default', 'pets').url}/predict", colours.red, "image/png", traceparent=f"00-{TRACE}-{PARENT}-01"
    )

    def spans() -> dict:
        found = [(attributes(resource), span) for resource, span in Receiver.spans if span.trace_id.hex() == TRACE]
        return {
            of.get("service.name") + (" " + span.name if span.name in ("decode", "model", "record") else ""): span
            for of, span in found
        }

    assert answer[0] == 200
    assert eventually(lambda: {"imageloop-gateway", "imageloop"} <= spans().keys(), seconds=20)
    gateway, service = spans()["imageloop-gateway"], spans()["imageloop"]
    assert gateway.parent_span_id.hex() == PARENT
    assert service.parent_span_id == gateway.span_id
    assert answer[2]["X-Request-Id"] == TRACE  # by which the record is found
    assert gateway.start_time_unix_nano <= service.start_time_unix_nano
    cluster.stop()


def test_a_receiver_that_is_not_there_delays_no_request(make_cluster, predictor_spec, call, colours):
    cluster = make_cluster(traces="http://127.0.0.1:9")
    cluster.apply(render("pets", "default", [predictor_spec("1")]))

    codes = [call(f"{cluster.describe('default', 'pets').url}/predict", colours.red, "image/png")[0] for _ in range(20)]

    cluster.stop()
    assert codes == [200] * 20
