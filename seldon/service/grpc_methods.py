"""The methods of the service over gRPC: those of Seldon's protocol, and of the Open Inference Protocol.

Each takes the bytes of a message and gives those of the reply, with the same predictions, limits, records and errors as the routes over HTTP.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from seldon.service.feedback_messages import parse_seldon_feedback
from seldon.service.grpc_calls import Call
from seldon.service.open_inference import (
    EXPECTED,
    OUTPUTS,
    InferenceRequest,
    contents_of,
    model_metadata,
    output_values,
    raw_output,
    refuse_other_models,
    refuse_other_outputs,
)
from seldon.service.open_inference_proto import message_class
from seldon.service.prediction_requests import source_of, whole
from seldon.service.request_errors import RequestError
from seldon.service.seldon_messages import Contents, parse_message
from seldon.service.serving_protocols import GRPC_INFERENCE, GRPC_SELDON

if TYPE_CHECKING:
    from seldon.service.asgi_app import ServiceApp

Method = Callable[[bytes, Call], Awaitable[bytes]]
PREDICTING = ("Predict", "SendFeedback", "ModelInfer")  # methods that take a slot, and are counted


class GrpcMethods:
    """The methods by service and name, bound to one model."""

    def __init__(self, app: "ServiceApp") -> None:
        self._app, self._model = app, app.model

    def by_service(self) -> dict[str, dict[str, Method]]:
        """All methods. Seldon's clients call `Seldon` at a gateway, its executor `Model`."""
        seldon: dict[str, Method] = {"Predict": self.predict, "SendFeedback": self.send_feedback}
        inference: dict[str, Method] = {
            "ServerLive": self.server_live, "ServerReady": self.server_ready, "ServerMetadata": self.server_metadata,
            "ModelReady": self.model_ready, "ModelMetadata": self.model_metadata, "ModelInfer": self.model_infer,
        }  # fmt: skip
        return dict.fromkeys(GRPC_SELDON, seldon) | {GRPC_INFERENCE: inference}

    async def predict(self, content: bytes, call: Call) -> bytes:
        from seldon_core.proto import prediction_pb2

        message = _parsed(prediction_pb2.SeldonMessage, content)
        side = self._model.info.side_pixels
        if message.WhichOneof("data_oneof") == "binData":
            contents: Contents = [message.binData]
        else:
            contents = parse_message(json_format.MessageToDict(message), side)
        predictions = await call.predicted(contents, "seldon")
        return _packed(json_format.ParseDict(self._model.seldon_response(predictions), prediction_pb2.SeldonMessage()))

    async def send_feedback(self, content: bytes, call: Call) -> bytes:
        from seldon_core.proto import prediction_pb2

        fields = json_format.MessageToDict(_parsed(prediction_pb2.Feedback, content))
        request_id, label = parse_seldon_feedback(fields, self._model.info.class_names)
        await call.in_thread(self._model.handler.store_feedback, request_id, label, source_of("seldon", call.client))
        return _packed(json_format.ParseDict({"meta": {"puid": request_id}}, prediction_pb2.SeldonMessage()))

    async def server_live(self, _content: bytes, _call: Call) -> bytes:
        return _packed(message_class("ServerLiveResponse")(live=True))

    async def server_ready(self, _content: bytes, _call: Call) -> bytes:
        return _packed(message_class("ServerReadyResponse")(ready=not self._app.is_ending))

    async def server_metadata(self, _content: bytes, _call: Call) -> bytes:
        name, version = self._served
        return _packed(message_class("ServerMetadataResponse")(name=name, version=version))

    async def model_ready(self, content: bytes, _call: Call) -> bytes:
        asked = _parsed(message_class("ModelReadyRequest"), content)
        self._check(asked.name, asked.version)
        return _packed(message_class("ModelReadyResponse")(ready=not self._app.is_ending))

    async def model_metadata(self, content: bytes, _call: Call) -> bytes:
        asked = _parsed(message_class("ModelMetadataRequest"), content)
        self._check(asked.name, asked.version)
        fields = model_metadata(self._served, self._model.info.class_names, self._model.info.side_pixels)
        del fields["parameters"]  # which this message does not have
        return _packed(message_class("ModelMetadataResponse")(**fields))

    async def model_infer(self, content: bytes, call: Call) -> bytes:
        message = _parsed(message_class("ModelInferRequest"), content)
        self._check(message.model_name, message.model_version)
        request = inference_request(message, self._model.info.side_pixels)
        predictions = whole(await call.predicted(request.contents, "v2"))
        values, outputs, raw = output_values(predictions), [], []
        for name, is_binary in request.outputs.items():
            value = values[name]
            output: dict[str, Any] = {"name": name, "datatype": OUTPUTS[name], "shape": value.shape}
            if is_binary:
                raw.append(raw_output(name, value))
            elif OUTPUTS[name] == "FP32":
                output["contents"] = {"fp32_contents": value.ravel().tolist()}
            else:
                output["contents"] = {"bytes_contents": [one.encode() for one in value]}
            outputs.append(output)
        model_name, version = self._served
        reply = message_class("ModelInferResponse")(
            model_name=model_name, model_version=version, id=message.id, outputs=outputs, raw_output_contents=raw
        )
        identity = self._model.handler.model_identity(predictions)
        for name in ("predictor", "precision"):
            reply.parameters[name].string_param = identity[name]
        return _packed(reply)

    @property
    def _served(self) -> tuple[str, str]:
        return self._model.identity.model_name, self._model.identity.model_version

    def _check(self, name: str, version: str) -> None:
        refuse_other_models(self._served, name, version or None)


def inference_request(message: Any, side: int) -> InferenceRequest:
    """Read a `ModelInferRequest`; outputs are raw where inputs are. Raises: RequestError."""
    raw = list(message.raw_input_contents)
    if len(message.inputs) != 1 or len(raw) > 1:
        raise RequestError(400, "wrong_field", f"expected {EXPECTED}, got {len(message.inputs)} inputs")
    tensor = message.inputs[0]
    given: dict[str, Any] = {"datatype": tensor.datatype, "shape": list(tensor.shape)}
    if raw:
        given["parameters"] = {"binary_data_size": len(raw[0])}
    elif tensor.datatype == "BYTES":
        given["data"] = list(tensor.contents.bytes_contents)
    else:
        given["data"] = list(tensor.contents.uint_contents or tensor.contents.int_contents)
    contents = contents_of(given, raw[0] if raw else b"", side)
    names = [output.name for output in message.outputs] or list(OUTPUTS)
    refuse_other_outputs(names)
    return InferenceRequest(contents, message.id or None, dict.fromkeys(names, bool(raw)))


def _parsed(kind: Any, content: bytes) -> Any:
    try:
        return kind.FromString(content)
    except DecodeError as error:
        raise RequestError(400, "wrong_field", f"expected a message {kind.DESCRIPTOR.full_name}, got other bytes") from error


def _packed(message: Any) -> bytes:
    content: bytes = message.SerializeToString()
    return content
