"""Tensors of a request, each checked before it reaches the graph.

onnxruntime takes some that mean nothing: it counts a negative token id from the embeddings' end.

Shapes: N = rows, T = tokens.
"""

from collections.abc import Sequence

import numpy as np

from pipeline.serving.errors import RequestError
from pipeline.serving.jobs import Served
from pipeline.serving.kserve_parts import InferInput, RequestedOutput
from pipeline.serving.settings import ServeSettings

INTEGERS = {"INT64": "<i8", "INT32": "<i4"}
"""Accepted datatypes, and the layout of each in binary data."""
_OTHER_FORMS = ("classification", "shared_memory_region")
"""Parameters of a requested output that ask for another answer than its tensor."""


def read_inputs(
    inputs: Sequence[InferInput], served: Served, settings: ServeSettings
) -> dict[str, np.ndarray]:
    """Return the graph's inputs, (N, T) int64.

    Raises:
        RequestError: when names, datatypes, shapes or values are not what the model takes.
    """
    wanted = [each.name for each in served.classifier.session.get_inputs()]
    given = {each.name: each for each in inputs}
    if sorted(given) != sorted(wanted) or len(inputs) != len(wanted):
        raise RequestError(f"Expected the inputs {', '.join(wanted)}.")
    tensors = {name: _read_tensor(given[name]) for name in wanted}
    shapes = {array.shape for array in tensors.values()}
    if len(shapes) != 1:
        raise RequestError("All inputs must have one shape: rows, tokens.")
    ((rows, tokens),) = shapes
    if not (1 <= rows <= settings.max_texts and 1 <= tokens <= served.max_tokens):
        raise RequestError(
            f"Expected 1 to {settings.max_texts} rows of 1 to {served.max_tokens} tokens."
        )
    _check_values(tensors, served)
    return tensors


def check_outputs(requested: Sequence[RequestedOutput], names: Sequence[str]) -> None:
    """Check that a request asks for nothing but the model's outputs, as tensors.

    Raises:
        RequestError: for another output, and for another form of it.
    """
    for each in requested:
        if each.name not in names:
            raise RequestError(
                f"The model has no output {each.name[:100]!r}, only {', '.join(map(repr, names))}."
            )
        parameters = each.parameters or {}
        if found := [form for form in _OTHER_FORMS if parameters.get(form)]:
            raise RequestError(f"The output is given as a tensor alone, not by {found[0]}.")
        if not isinstance(parameters.get("binary_data", False), bool):
            raise RequestError("binary_data is true or false.")
    asked = [each.name for each in requested]
    if twice := [name for name in names if asked.count(name) > 1]:
        raise RequestError(f"The output {twice[0]!r} is requested twice.")


def _check_values(tensors: dict[str, np.ndarray], served: Served) -> None:
    for name, limit in served.id_limits.items():
        ids = tensors.get(name)
        if ids is not None and (ids.min() < 0 or ids.max() >= limit):
            raise RequestError(f"{name} holds numbers from 0 to {limit - 1}.")
    mask = tensors.get("attention_mask")
    if mask is not None and not (np.isin(mask, (0, 1)).all() and mask.any(axis=1).all()):
        raise RequestError("attention_mask holds 0 and 1, and a 1 in every row.")


def _read_tensor(given: InferInput) -> np.ndarray:
    if given.datatype not in INTEGERS:
        raise RequestError(f"Expected the datatype INT64 or INT32 for {given.name[:100]!r}.")
    if len(given.shape) != 2:
        raise RequestError(f"Expected two dimensions for {given.name[:100]!r}: rows, tokens.")
    try:
        array = np.asarray(given.as_numpy())
    # KServe and numpy raise bare exceptions of many kinds for data that does not fit its shape.
    except Exception as error:
        raise RequestError(f"The data of {given.name[:100]!r} does not fit its shape.") from error
    if list(array.shape) != list(given.shape):  # numpy takes -1 for "whatever is left"
        raise RequestError(f"The data of {given.name[:100]!r} does not fit its shape.")
    return array.astype(np.int64)
