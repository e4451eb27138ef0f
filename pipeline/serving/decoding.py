"""Bodies of REST inference requests, read into KServe's type.

Tensors are numbers in the JSON, or bytes behind it (the protocol's binary tensor extension).
KServe's own reader is not used. It accepts a length that does not fit, leaves bytes unread, and
takes true and 2.7 for integers.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson

from pipeline.serving.errors import RequestError
from pipeline.serving.kserve_parts import (
    InferenceRequest,
    InferInput,
    InferRequest,
    RequestedOutput,
    RequestInput,
)
from pipeline.serving.tensors import INTEGERS

LENGTH = "inference-header-content-length"


def decode_request(
    body: bytes, headers: Mapping[str, str], *, model: str, version: str | None = None
) -> InferRequest:
    """Return the request in a body.

    Raises:
        RequestError: when the body is no request, or its tensors don't fit what it says of them.
    """
    content, binary = _read(body, headers.get(LENGTH))
    inputs, start = [], 0
    for given in content.inputs:
        size = (given.parameters or {}).get("binary_data_size")
        if size is None:
            inputs.append(_from_numbers(given))
            continue
        if LENGTH not in headers or given.data:
            raise RequestError(f"binary_data_size needs the header {LENGTH}, and no data.")
        if type(size) is not int or not 0 <= size <= len(binary) - start:
            raise RequestError(f"The binary data of {given.name[:100]!r} is not all there.")
        inputs.append(_from_bytes(given, binary[start : start + size]))
        start += size
    if start != len(binary):
        raise RequestError(f"{len(binary) - start} bytes follow the binary data of all inputs.")
    outputs = [
        RequestedOutput(name=each.name, parameters=each.parameters or {})
        for each in content.outputs or ()
    ]
    return InferRequest(
        model_name=model,
        model_version=version,
        infer_inputs=inputs,
        request_id=content.id,
        parameters=content.parameters,
        request_outputs=outputs or None,
    )


def _read(body: bytes, length: str | None) -> tuple[InferenceRequest, bytes]:
    """Return the JSON of a body, and the bytes behind it."""
    if length is not None and not (length.isdecimal() and int(length) <= len(body)):
        raise RequestError(f"{LENGTH} is not the length of the body's JSON, in bytes.")
    try:
        if length is None:
            content, binary = InferenceRequest.model_validate_json(body), b""
        else:
            content, binary = _without_data(body[: int(length)]), body[int(length) :]
        for text in (content.id or "", *(each.name for each in content.inputs)):
            text.encode()  # JSON can spell half a surrogate pair
    # A body can be wrong in many ways, and pydantic and orjson raise errors of their own for each.
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RequestError("The body is no inference request of the protocol's v2.") from error
    return content, binary


def _without_data(body: bytes) -> InferenceRequest:
    """Return a request whose tensors may stand behind it."""
    content: Any = orjson.loads(body)  # Any: the next lines check it
    for each in content["inputs"]:
        each.setdefault("data", [])
    return InferenceRequest.model_validate(content)


def _from_numbers(given: RequestInput) -> InferInput:
    rows = given.data if given.data and isinstance(given.data[0], list) else [given.data]
    # Not isinstance: true and false are no integers of the protocol.
    if not all(isinstance(row, list) and all(type(n) is int for n in row) for row in rows):
        raise RequestError(f"The data of {given.name[:100]!r} is not all integers.")
    return InferInput(given.name, given.shape, given.datatype, data=given.data)


def _from_bytes(given: RequestInput, data: bytes) -> InferInput:
    """Return a tensor of little-endian integers; one of another datatype stays empty."""
    tensor = InferInput(given.name, given.shape, given.datatype, data=[])
    if tensor.datatype in INTEGERS:
        numbers = np.frombuffer(data[: len(data) // 8 * 8], INTEGERS[tensor.datatype])
        size_bytes = math.prod(given.shape) * numbers.itemsize
        if min(given.shape, default=0) < 0 or size_bytes != len(data):
            raise RequestError(f"The data of {given.name[:100]!r} does not fit its shape.")
        tensor.set_data_from_numpy(numbers.reshape(given.shape), binary_data=True)
    return tensor
