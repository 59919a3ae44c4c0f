"""The server for gRPC in the tests' own process: what it counts, records and traces of each call, and how it fails."""

import asyncio
from concurrent.futures import Future
from types import SimpleNamespace

import grpc
import numpy as np
import pytest

from imageloop.errors import ImageLoopError
from imageloop.records.record_reader import RecordTail
from seldon.delivery.clusters.local.site_folders import free_port
from seldon.service import prometheus_metrics
from seldon.service.grpc_server import PORT_VARIABLE, GrpcCalls, GrpcServer, start_grpc
from seldon.service.open_inference_proto import SERVICE, message_class
from seldon.service.process_metrics import NAMES, ReplicaProcesses
from seldon.service.request_errors import RequestError

INFER = f"/{SERVICE}/ModelInfer"


class Spans:
    """Keeps what would be sent."""

    def __init__(self) -> None:
        self.recorded = []

    def record(self, scope, begun, status, stages) -> None:
        self.recorded.append((scope["path"], status, [stage.name for stage in stages]))


@pytest.fixture
def app(model):
    return SimpleNamespace(model=model, in_flight=0, is_ending=False, tracing=Spans())


@pytest.fixture
def ask(app):
    """The reply to one call, or its error: ask(path, message, response, **options)."""

    def call(path: str, content: bytes, response: str = "ModelInferResponse", **options):
        async def main():
            server, port = GrpcServer(GrpcCalls(app).answering), free_port()
            await server.start(port)
            try:
                async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                    return await channel.unary_unary(path)(content, **({"timeout": 20} | options))
            except grpc.aio.AioRpcError as error:
                return error
            finally:
                await server.stop(0)

        found = asyncio.run(main())
        return message_class(response).FromString(found) if isinstance(found, bytes) else found

    return call


def infer(*contents: bytes, **fields) -> bytes:
    tensor = {"name": "images", "datatype": "BYTES", "shape": [len(contents)], "contents": {"bytes_contents": list(contents)}}
    return message_class("ModelInferRequest")(**({"model_name": "colours"} | fields), inputs=[tensor]).SerializeToString()


def count(code: int) -> float:
    return prometheus_metrics.requests.labels("v7", INFER, code)._value.get()


def test_a_call_is_counted_recorded_and_traced(ask, app, colours, tmp_path, eventually):
    before = count(200)

    found = ask(INFER, infer(colours.red, colours.blue), metadata=[("x-request-id", "order-17")])

    named = {output.name: output for output in found.outputs}
    assert list(named["labels"].contents.bytes_contents) == [b"red", b"blue"]
    assert found.parameters["predictor"].string_param == "v7"
    assert count(200) == before + 1
    assert app.in_flight == 0
    assert app.tracing.recorded == [(INFER, 200, ["decode", "model", "record"])]
    tail, records = RecordTail(tmp_path / "records"), []
    assert eventually(lambda: records.extend(tail.read()) or len(records) == 2)
    assert {record.caller_id for record in records} == {"order-17"}


def test_raw_pixels_get_raw_outputs(ask, app):
    side = app.model.info.side_pixels
    pixels = np.zeros((1, side, side, 3), np.uint8)
    pixels[..., 2] = 200
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": pixels.shape}
    request = message_class("ModelInferRequest")(
        model_name="colours", inputs=[tensor], outputs=[{"name": "probabilities"}], raw_input_contents=[pixels.tobytes()]
    )

    found = ask(INFER, request.SerializeToString())

    assert np.frombuffer(found.raw_output_contents[0], "<f4").argmax() == 1


@pytest.mark.parametrize(
    ("content", "status", "reason"),
    [
        (infer(b"no image at all"), "INVALID_ARGUMENT", "NOT_AN_IMAGE"),
        (infer(b"x", model_name="other"), "NOT_FOUND", "NO_SUCH_MODEL"),
        (infer(b"x", outputs=[{"name": "heat"}]), "INVALID_ARGUMENT", "WRONG_FIELD"),
        (message_class("ModelInferRequest")(model_name="colours").SerializeToString(), "INVALID_ARGUMENT", "got 0 inputs"),
        (b"\xff\xff", "INVALID_ARGUMENT", "expected a message inference.ModelInferRequest"),
    ],
)
def test_a_refusal_has_a_status_and_a_reason(ask, app, content, status, reason):
    found = ask(INFER, content)

    assert found.code().name == status
    assert reason in found.details()
    assert app.tracing.recorded[0][1] in (400, 404)


def test_the_number_of_a_bad_image_is_named(ask, colours):
    assert "image 2 of 2: expected a usable image" in ask(INFER, infer(colours.red, b"no image")).details()


def test_a_full_queue_says_when_to_come_again(ask, app, monkeypatch, colours):
    def full(_bytes):
        raise RequestError(503, "full", "expected a free slot, got a full queue", retry_after_seconds=1)

    monkeypatch.setattr(app.model.handler.admission, "receiving", full)

    found = ask(INFER, infer(colours.red))

    assert found.code() == grpc.StatusCode.UNAVAILABLE
    assert ("retry-after", "1") in tuple(found.trailing_metadata())


def test_an_error_of_the_service_says_nothing_of_what_was_sent(ask, app, monkeypatch, colours, caplog):
    def fails(_request):
        raise ZeroDivisionError("a secret of the caller")

    monkeypatch.setattr(app.model.handler, "submit", fails)

    found = ask(INFER, infer(colours.red))

    assert (found.code(), found.details()) == (grpc.StatusCode.INTERNAL, "INTERNAL: the service failed; see its log")
    assert "ZeroDivisionError in" in caplog.text
    assert "secret" not in caplog.text


def test_a_caller_that_goes_is_counted_and_its_slot_is_free(ask, app, monkeypatch, colours, eventually):
    never, before = Future(), count(499)
    monkeypatch.setattr(app.model.handler, "submit", lambda _request: never)

    found = ask(INFER, infer(colours.red), timeout=0.3)

    assert found.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert eventually(lambda: count(499) == before + 1)
    assert app.in_flight == 0


def test_health_and_metadata(ask, app):
    def state(method: str, request, response: str):
        return ask(f"/{SERVICE}/{method}", request.SerializeToString(), response)

    assert state("ServerLive", message_class("ServerLiveRequest")(), "ServerLiveResponse").live
    assert state("ServerMetadata", message_class("ServerMetadataRequest")(), "ServerMetadataResponse").version == "7"
    assert state("ModelReady", message_class("ModelReadyRequest")(name="colours"), "ModelReadyResponse").ready
    metadata = state("ModelMetadata", message_class("ModelMetadataRequest")(name="colours", version="7"), "ModelMetadataResponse")
    assert [output.name for output in metadata.outputs] == ["probabilities", "labels", "request_ids"]
    app.is_ending = True
    assert not state("ServerReady", message_class("ServerReadyRequest")(), "ServerReadyResponse").ready


def test_it_is_there_where_a_port_is_named_and_refuses_one_that_is_taken(app, monkeypatch):
    async def twice(port: str):
        monkeypatch.delenv(PORT_VARIABLE, raising=False)
        assert await start_grpc(app) is None
        monkeypatch.setenv(PORT_VARIABLE, port)
        server = await start_grpc(app)
        try:
            with pytest.raises(ImageLoopError, match="expected a free port for gRPC"):
                await start_grpc(app)
        finally:
            await server.stop(0)

    asyncio.run(twice(str(free_port())))


def test_processes_of_a_replica_are_measured():
    found = {metric.name: metric.samples[0] for metric in ReplicaProcesses().collect()}

    assert found.keys() == NAMES.keys()
    assert all(sample.labels == {"worker": "0"} and sample.value > 0 for sample in found.values())
