"""The messages of the Open Inference Protocol's gRPC service, built from a table, so that no generated code depends on a version of protobuf.

Source: https://github.com/kserve/open-inference-protocol, `open_inference_grpc.proto`; the fields that are served here.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from seldon.service.serving_protocols import GRPC_INFERENCE

SERVICE = GRPC_INFERENCE
PACKAGE = SERVICE.partition(".")[0]
TYPES = {
    "bool": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    "bytes": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
    "double": descriptor_pb2.FieldDescriptorProto.TYPE_DOUBLE,
    "float": descriptor_pb2.FieldDescriptorProto.TYPE_FLOAT,
    "int32": descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
    "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "uint32": descriptor_pb2.FieldDescriptorProto.TYPE_UINT32,
    "uint64": descriptor_pb2.FieldDescriptorProto.TYPE_UINT64,
}
_TENSOR = ("string name", "string datatype", "int64* shape", "map parameters", "InferTensorContents contents")
# Fields in the order of their numbers, from 1; `*`: repeated, `|`: of one choice, `map`: of parameters by name.
MESSAGES: dict[str, tuple[str, ...]] = {
    "InferParameter": ("bool| bool_param", "int64| int64_param", "string| string_param", "double| double_param", "uint64| uint64_param"),
    "InferTensorContents": (
        "bool* bool_contents", "int32* int_contents", "int64* int64_contents", "uint32* uint_contents", "uint64* uint64_contents",
        "float* fp32_contents", "double* fp64_contents", "bytes* bytes_contents",
    ),
    "InferInputTensor": _TENSOR,
    "InferOutputTensor": _TENSOR,
    "InferRequestedOutputTensor": ("string name", "map parameters"),
    "ModelInferRequest": (
        "string model_name", "string model_version", "string id", "map parameters", "InferInputTensor* inputs",
        "InferRequestedOutputTensor* outputs", "bytes* raw_input_contents",
    ),
    "ModelInferResponse": (
        "string model_name", "string model_version", "string id", "map parameters", "InferOutputTensor* outputs", "bytes* raw_output_contents",
    ),
    "ServerLiveRequest": (),
    "ServerLiveResponse": ("bool live",),
    "ServerReadyRequest": (),
    "ServerReadyResponse": ("bool ready",),
    "ModelReadyRequest": ("string name", "string version"),
    "ModelReadyResponse": ("bool ready",),
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": ("string name", "string version", "string* extensions"),
    "ModelMetadataRequest": ("string name", "string version"),
    "TensorMetadata": ("string name", "string datatype", "int64* shape"),
    "ModelMetadataResponse": ("string name", "string* versions", "string platform", "TensorMetadata* inputs", "TensorMetadata* outputs"),
}  # fmt: skip


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="imageloop/open_inference.proto", package=PACKAGE, syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, field in enumerate(fields, 1):
            _add_field(message, number, *field.split())
    return file


def _add_field(message: descriptor_pb2.DescriptorProto, number: int, kind: str, name: str) -> None:
    field = message.field.add(name=name, number=number, label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL)
    if kind == "map":
        entry = message.nested_type.add(name=f"{name.title()}Entry")
        entry.options.map_entry = True
        _add_field(entry, 1, "string", "key")
        _add_field(entry, 2, "InferParameter", "value")
        kind = f"{message.name}.{entry.name}*"
    if kind.endswith("|"):
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
    if kind.endswith("*"):
        field.label = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
    kind = kind.rstrip("*|")
    if kind in TYPES:
        field.type = TYPES[kind]
    else:
        field.type, field.type_name = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE, f".{PACKAGE}.{kind}"


_POOL = descriptor_pool.DescriptorPool()  # of its own: another library may define the same names in the default one
_POOL.Add(_file())


def message_class(name: str) -> Any:
    """The class of a message."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))
