"""The parts of KServe that are used, and their import.

At import KServe reads the command line of the process with its own parser, so it is given none. It
also imports pandas, which imports pyarrow if installed; a server needs none of these 40 MB. No
other module imports KServe.
"""

import contextlib
import sys
from collections.abc import Iterator
from unittest.mock import patch


@contextlib.contextmanager
def _as_if_missing(module: str) -> Iterator[None]:
    """Let a module that is not imported yet look as if it was not installed."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment] # what `import` takes for missing
    try:
        yield
    finally:
        del sys.modules[module]


with patch.object(sys, "argv", sys.argv[:1]), _as_if_missing("pyarrow"):
    from kserve import InferInput, InferOutput, InferRequest, InferResponse, Model
    from kserve.errors import InvalidInput, ModelNotFound, ModelNotReady, ServerNotReady
    from kserve.model_repository import ModelRepository
    from kserve.protocol.dataplane import DataPlane
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as messages
    from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as service
    from kserve.protocol.grpc.servicer import InferenceServicer
    from kserve.protocol.infer_type import RequestedOutput
    from kserve.protocol.rest.v2_datamodels import (
        InferenceRequest,
        InferenceResponse,
        ListModelsResponse,
        ModelMetadataResponse,
        ModelReadyResponse,
        RequestInput,
        ServerLiveResponse,
        ServerMetadataResponse,
        ServerReadyResponse,
    )

__all__ = [
    "DataPlane",
    "InferInput",
    "InferOutput",
    "InferRequest",
    "InferResponse",
    "InferenceRequest",
    "InferenceResponse",
    "InferenceServicer",
    "InvalidInput",
    "ListModelsResponse",
    "Model",
    "ModelMetadataResponse",
    "ModelNotFound",
    "ModelNotReady",
    "ModelReadyResponse",
    "ModelRepository",
    "RequestInput",
    "RequestedOutput",
    "ServerLiveResponse",
    "ServerMetadataResponse",
    "ServerNotReady",
    "ServerReadyResponse",
    "messages",
    "service",
]
