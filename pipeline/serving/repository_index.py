"""The repository's index over gRPC, which Triton's clients ask for and KServe's service lacks.

Its messages are described here, by the field numbers of Triton's protocol
(https://github.com/triton-inference-server/common/blob/main/protobuf/grpc_service.proto). They have
a pool and a package of their own: in the shared pool they would clash with Triton's client.
"""

from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from pipeline.serving.errors import RequestError
from pipeline.serving.protocol import Plane

_SERVICE = "inference.GRPCInferenceService"
_PACKAGE = "adapter_distill"
_Field = descriptor_pb2.FieldDescriptorProto
_ONE_REPOSITORY = "There is one repository, without a name: leave repository_name empty."


def index_handler(plane: Plane) -> grpc.GenericRpcHandler:
    """Return what answers ``RepositoryIndex``."""
    request, response = _messages()

    async def answer(asked: Any, _: Any) -> Any:
        if asked.repository_name:
            raise RequestError(_ONE_REPOSITORY)
        return response(models=plane.index(only_ready=asked.ready))

    handler = grpc.unary_unary_rpc_method_handler(
        answer,
        request_deserializer=request.FromString,
        response_serializer=response.SerializeToString,
    )
    return grpc.method_handlers_generic_handler(_SERVICE, {"RepositoryIndex": handler})


def _messages() -> tuple[Any, Any]:
    """Return the classes of request and response."""
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{_PACKAGE}.proto", package=_PACKAGE, syntax="proto3"
    )
    request = file.message_type.add(name="RepositoryIndexRequest")
    request.field.add(name="repository_name", number=1, type=_Field.TYPE_STRING)
    request.field.add(name="ready", number=2, type=_Field.TYPE_BOOL)
    response = file.message_type.add(name="RepositoryIndexResponse")
    model = response.nested_type.add(name="ModelIndex")
    for number, name in enumerate(("name", "version", "state", "reason"), start=1):
        model.field.add(name=name, number=number, type=_Field.TYPE_STRING)
    response.field.add(
        name="models",
        number=1,
        label=_Field.LABEL_REPEATED,
        type=_Field.TYPE_MESSAGE,
        type_name=f".{_PACKAGE}.RepositoryIndexResponse.ModelIndex",
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    classes = message_factory.GetMessageClassesForFiles([file.name], pool)
    return tuple(classes[f"{_PACKAGE}.RepositoryIndex{each}"] for each in ("Request", "Response"))
