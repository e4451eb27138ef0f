"""A student as a model of the Open Inference Protocol (v2), by KServe's own types.

Tensors in, outputs out: the same checks and the same queue for REST and gRPC. Importing KServe
reads the command line of the process with a parser of its own, so it is imported with none to read.
It also imports pandas, and that pyarrow where there is one: 40 MB of which a server needs nothing.

Shapes: N = rows, T = tokens, C = outputs per text.
"""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from unittest.mock import patch
from uuid import uuid4

import numpy as np

from pipeline.serving.batching import Answer, Served
from pipeline.serving.errors import NotReadyError, RequestError
from pipeline.serving.settings import ServeSettings
from pipeline.serving.slots import Slot


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
    from kserve.errors import ModelNotFound
    from kserve.model_repository import ModelRepository
    from kserve.protocol.dataplane import DataPlane

_INTEGERS = ("INT64", "INT32")


class Student(Model):  # type: ignore[misc] # KServe's own way to add a model; it has no types
    """One served name."""

    def __init__(self, slot: Slot, settings: ServeSettings) -> None:
        super().__init__(slot.name)
        self.slot, self._settings = slot, settings
        self.enable_latency_logging = False

    @property
    def ready(self) -> bool:
        """Whether a model is loaded."""
        return self.slot.served is not None

    @ready.setter
    def ready(self, value: bool) -> None:
        """Ignore KServe's own bookkeeping: the slot knows."""

    def served(self) -> Served:
        """Return the model, or raise where none is loaded yet."""
        if self.slot.served is None:
            raise NotReadyError(f"{self.name} has no champion yet.")
        return self.slot.served

    def get_input_types(self) -> list[dict[str, object]]:
        """Return names, types and shapes of the inputs."""
        names = [each.name for each in self.served().classifier.session.get_inputs()]
        return [{"name": name, "datatype": "INT64", "shape": [-1, -1]} for name in names]

    def get_output_types(self) -> list[dict[str, object]]:
        """Return name, type and shape of the output."""
        served = self.served()
        name = served.classifier.session.get_outputs()[0].name
        return [{"name": name, "datatype": "FP32", "shape": [-1, len(served.labels)]}]

    async def predict(
        self,
        payload: InferRequest,
        headers: dict[str, str] | None = None,
        response_headers: dict[str, str] | None = None,
    ) -> InferResponse:
        """Answer a tensor request."""
        served = self.served()
        tensors = _read_tensors(payload.inputs, served, self._settings)
        rows = len(next(iter(tensors.values())))
        answer = await self.slot.batcher.submit(tensors, rows)
        name = answer.served.classifier.session.get_outputs()[0].name
        output = InferOutput(name, list(answer.outputs.shape), "FP32")
        output.set_data_from_numpy(answer.outputs, binary_data=payload.use_binary_outputs)
        return InferResponse(
            response_id=payload.id or uuid4().hex,
            model_name=self.name,
            model_version=str(answer.served.version),
            infer_outputs=[output],
        )

    async def classify(self, texts: Sequence[tuple[str, ...]]) -> Answer:
        """Answer a text request."""
        self.served()
        return await self.slot.batcher.submit(texts, len(texts))


class Plane(DataPlane):  # type: ignore[misc] # KServe's; it has no types
    """KServe's data plane, which knows when the server is really ready."""

    def __init__(self, models: Sequence[Student]) -> None:
        repository = ModelRepository()
        for model in models:
            repository.update(model)
        super().__init__(repository)
        self.models = {model.name: model for model in models}
        self.is_draining = False

    async def ready(self) -> bool:
        """Return whether every model is loaded and the server is not about to stop."""
        return not self.is_draining and all(model.ready for model in self.models.values())

    def find(self, name: str) -> Student:
        """Return a served model."""
        model = self.models.get(name)
        if model is None:
            raise ModelNotFound(name)
        return model


def _read_tensors(
    inputs: Sequence[InferInput], served: Served, settings: ServeSettings
) -> dict[str, np.ndarray]:
    """Return the graph's inputs, (N, T) int64, each checked."""
    wanted = [each.name for each in served.classifier.session.get_inputs()]
    # KServe checks the types of a JSON body, but not those of the JSON before binary tensors.
    if not all(isinstance(text, str) for each in inputs for text in (each.name, each.datatype)):
        raise RequestError("Names and datatypes are strings.")
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
    mask = tensors.get("attention_mask")
    if mask is not None and not (np.isin(mask, (0, 1)).all() and mask.any(axis=1).all()):
        raise RequestError("attention_mask holds 0 and 1, and a 1 in every row.")
    return tensors


def _read_tensor(given: InferInput) -> np.ndarray:
    if given.datatype not in _INTEGERS:
        raise RequestError(f"Expected the datatype INT64 or INT32 for {given.name[:100]!r}.")
    try:
        array = np.asarray(given.as_numpy())
        if array.dtype.kind not in "iu":
            raise TypeError
        array = array.astype(np.int64)
    # KServe and numpy raise bare exceptions of many kinds for data that does not fit its shape.
    except Exception as error:
        raise RequestError(f"The data of {given.name[:100]!r} does not fit its shape.") from error
    if list(array.shape) != list(given.shape):  # numpy takes -1 for "whatever is left"
        raise RequestError(f"The data of {given.name[:100]!r} does not fit its shape.")
    if array.ndim != 2:
        raise RequestError(f"Expected two dimensions for {given.name[:100]!r}: rows, tokens.")
    return array
