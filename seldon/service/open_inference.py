"""The Open Inference Protocol (V2) over REST: the images of an inference request, and the response, with binary tensors where asked for.

Shapes: N images, S pixels a side, K classes.
Sources: https://github.com/kserve/open-inference-protocol; the binary tensor data extension of Triton.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from seldon.service.json_encoding import to_json
from seldon.service.prediction_requests import ServedPrediction
from seldon.service.request_errors import RequestError
from seldon.service.seldon_messages import MAX_IMAGES, Contents, checked_pixels, decode_base64, read_json

HEADER = "Inference-Header-Content-Length"  # the bytes of JSON before the binary tensors, in requests and responses
OUTPUTS = {"probabilities": "FP32", "labels": "BYTES", "request_ids": "BYTES"}  # names and datatypes
EXPECTED = "one input: images as BYTES (files, in JSON as base64), or upright, prepared ones as UINT8 of shape (N, S, S, 3)"
LENGTH_BYTES = 4  # before each element of a binary BYTES tensor


@dataclass(frozen=True)
class InferenceRequest:
    """The images of a request, its id, and the outputs it asks for: which ones, each with whether it is binary."""

    contents: Contents
    id: str | None
    outputs: dict[str, bool]


def parse_inference(body: bytes, json_bytes: int | None, side: int) -> InferenceRequest:
    """Read a request. `json_bytes`: the length of its JSON, where binary tensors follow.

    Raises: RequestError.
    """
    if json_bytes is not None and not 0 < json_bytes <= len(body):
        raise RequestError(400, "wrong_field", f"expected {HEADER} within the body of {len(body)} bytes, got {json_bytes}")
    fields = read_json(body if json_bytes is None else body[:json_bytes])
    inputs = fields.get("inputs") if isinstance(fields, dict) else None
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        found = f"{len(inputs)} inputs" if isinstance(inputs, list) else "no list of inputs"
        raise RequestError(400, "wrong_field", f"expected {EXPECTED}, got {found}")
    binary = body[json_bytes:] if json_bytes is not None else b""
    contents = contents_of(inputs[0], binary, side)
    identity = fields.get("id")
    return InferenceRequest(contents, identity if isinstance(identity, str) else None, _asked_outputs(fields))


def inference_response(
    request: InferenceRequest, model: tuple[str, str], predictions: list[ServedPrediction], parameters: dict[str, str]
) -> tuple[bytes, int | None]:
    """The body of a response, and the length of its JSON where binary tensors follow. `model`: name and version."""
    values = output_values(predictions)
    outputs, tail = [], b""
    for name, is_binary in request.outputs.items():
        value = values[name]
        output: dict[str, Any] = {"name": name, "datatype": OUTPUTS[name], "shape": list(value.shape)}
        if is_binary:
            raw = raw_output(name, value)
            output["parameters"], tail = {"binary_data_size": len(raw)}, tail + raw
        else:
            output["data"] = value.ravel().tolist()
        outputs.append(output)
    fields: dict[str, Any] = {"model_name": model[0], "model_version": model[1], "parameters": parameters, "outputs": outputs}
    if request.id is not None:
        fields["id"] = request.id
    head = to_json(fields)
    return head + tail, len(head) if any(request.outputs.values()) else None


def refuse_other_models(served: tuple[str, str], name: str, version: str | None) -> None:
    """Raises: RequestError where a request names another model than the served one, or another version."""
    if name != served[0] or version not in (None, served[1]):
        raise RequestError(404, "no_such_model", f"expected the model '{served[0]}' in version {served[1]}, got another one")


def refuse_other_outputs(names: Iterable[object]) -> None:
    """Raises: RequestError where a request asks for an output that there is not."""
    if not set(names) <= OUTPUTS.keys():
        raise RequestError(400, "wrong_field", f"expected outputs of {', '.join(OUTPUTS)}, got another one")


def output_values(predictions: list[ServedPrediction]) -> dict[str, np.ndarray[Any, Any]]:
    """Each output of a response: (N, K) probabilities, (N,) labels and request ids."""
    return {
        "probabilities": np.array([list(one.probabilities.values()) for one in predictions], "<f4"),
        "labels": np.array([one.label for one in predictions], object),
        "request_ids": np.array([one.request_id for one in predictions], object),
    }


def raw_output(name: str, value: np.ndarray[Any, Any]) -> bytes:
    """An output as a binary tensor."""
    return value.tobytes() if OUTPUTS[name] == "FP32" else b"".join(_with_length(one.encode()) for one in value)


def model_metadata(model: tuple[str, str], class_names: list[str], side: int) -> dict[str, Any]:
    """What `GET /v2/models/NAME` says."""
    return {
        "name": model[0],
        "versions": [model[1]],
        "platform": "imageloop_onnx",
        "inputs": [
            {"name": "images", "datatype": "BYTES", "shape": [-1]},
            {"name": "pixels", "datatype": "UINT8", "shape": [-1, side, side, 3]},
        ],
        "outputs": [
            {"name": name, "datatype": datatype, "shape": [-1, len(class_names)] if datatype == "FP32" else [-1]}
            for name, datatype in OUTPUTS.items()
        ],
        "parameters": {"class_names": class_names},
    }


def files_of(values: list[Any], field: str) -> list[bytes]:
    """The files of a BYTES tensor, each in base64 or, as binary tensors hold it, as it is. Raises: RequestError."""
    if not 1 <= len(values) <= MAX_IMAGES:
        raise RequestError(422, "wrong_count", f"expected 1 to {MAX_IMAGES} images in {field}, got {len(values)}")
    return [_file_of(value, field) for value in values]


def _file_of(value: Any, field: str) -> bytes:
    if isinstance(value, bytes):
        if not _is_text(value):
            return value
        try:
            return decode_base64(value, field)
        except RequestError:
            return value  # a text, which is refused for what it is
    return decode_base64(value, field)


def contents_of(given: dict[str, Any], binary: bytes, side: int) -> Contents:
    """The images of one input tensor; `binary`: what follows the JSON, or a raw tensor of gRPC. Raises: RequestError."""
    datatype = given.get("datatype")
    size = _parameters(given).get("binary_data_size")
    if size is not None and (not isinstance(size, int) or size != len(binary)):
        raise RequestError(
            400, "wrong_field", f"expected binary_data_size {len(binary)}, as many bytes as follow the JSON, got another number"
        )
    if datatype == "BYTES":
        data = _elements(binary) if size is not None else given.get("data")
        if isinstance(data, list) and len(data) == 1 and isinstance(data[0], list):
            data = data[0]
        if not isinstance(data, list):
            raise RequestError(400, "wrong_field", f"expected {EXPECTED}, got no list of data")
        if given.get("shape") not in ([len(data)], [len(data), 1]):
            raise RequestError(
                400, "wrong_field", f"expected the shape [{len(data)}], as many images as inputs[0] holds, got another one"
            )
        return files_of(data, "inputs[0].data")
    if datatype != "UINT8":
        raise RequestError(400, "wrong_field", f"expected {EXPECTED}, got another datatype")
    return checked_pixels(_pixels(given, binary if size is not None else None), side)


def _pixels(given: dict[str, Any], binary: bytes | None) -> np.ndarray[Any, Any]:
    shape = given.get("shape")
    try:
        values = np.frombuffer(binary, np.uint8) if binary is not None else np.asarray(given.get("data"), np.float32)
        return values.reshape(shape)
    except (TypeError, ValueError, OverflowError) as error:
        raise RequestError(400, "wrong_field", "expected numbers of inputs[0].shape in inputs[0].data, got others") from error


def _elements(binary: bytes) -> list[bytes]:
    """The elements of a binary BYTES tensor, each behind its length."""
    elements: list[bytes] = []
    place = 0
    while place < len(binary):
        end = place + LENGTH_BYTES + int.from_bytes(binary[place : place + LENGTH_BYTES], "little")
        if end > len(binary) or len(elements) == MAX_IMAGES + 1:
            break
        elements.append(binary[place + LENGTH_BYTES : end])
        place = end
    if place != len(binary) and len(elements) <= MAX_IMAGES:
        raise RequestError(
            400, "wrong_field", "expected elements of BYTES, each behind its length in four bytes, got other bytes"
        )
    return elements


def _asked_outputs(fields: dict[str, Any]) -> dict[str, bool]:
    """The outputs that a request asks for; all where it names none."""
    usual, asked = bool(_parameters(fields).get("binary_data_output", False)), fields.get("outputs")
    if not asked:
        return dict.fromkeys(OUTPUTS, usual)
    named = [one.get("name") if isinstance(one, dict) else None for one in asked] if isinstance(asked, list) else [None]
    refuse_other_outputs(named)
    return {str(one["name"]): bool(_parameters(one).get("binary_data", usual)) for one in asked}


def _parameters(fields: dict[str, Any]) -> dict[str, Any]:
    found = fields.get("parameters")
    return found if isinstance(found, dict) else {}


def _with_length(element: bytes) -> bytes:
    return len(element).to_bytes(LENGTH_BYTES, "little") + element


def _is_text(value: bytes) -> bool:
    """Whether these bytes can be base64: image formats begin with bytes that are no text, or hold some soon."""
    return value[:512].isascii() and not any(byte < 9 for byte in value[:512])
