"""A student as a model of the Open Inference Protocol (v2), by KServe's own types.

Tensors in, outputs out: the same checks and the same queue for REST and gRPC. A request may name a
version: it is answered by that one, or refused.

Shapes: N = rows, T = tokens, C = outputs per text.
"""

from collections.abc import Sequence
from importlib.metadata import version as installed_version
from typing import Any
from uuid import uuid4

import numpy as np

from pipeline.inference.generation import Completion
from pipeline.serving.errors import NotReadyError, RequestError, UnknownVersionError
from pipeline.serving.jobs import Answer, Served
from pipeline.serving.kserve_parts import (
    DataPlane,
    InferOutput,
    InferRequest,
    InferResponse,
    Model,
    ModelNotFound,
    ModelRepository,
)
from pipeline.serving.settings import ServeSettings
from pipeline.serving.slots import Slot
from pipeline.serving.tensors import check_outputs, read_inputs

_DATATYPES = {"tensor(int64)": "INT64", "tensor(float)": "FP32"}


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

    def served(self, version: str | None = None) -> Served:
        """Return the model that answers now.

        Args:
            version: Its number as the client gives it; none for any.

        Raises:
            NotReadyError: when none is loaded yet.
            UnknownVersionError: when the model's number is another one.
        """
        served = self.slot.served
        if served is None:
            raise NotReadyError(f"{self.name} has no champion yet.")
        _check_version(served, version)
        return served

    def metadata(self, version: str | None = None) -> dict[str, object]:
        """Return name, versions, inputs and outputs, as the protocol has them."""
        served = self.served(version)
        session = served.classifier.session
        if served.classifier.task.continues:
            return {**self._named(served), **_whole_graph(session)}
        return {
            **self._named(served),
            "inputs": [
                {"name": each.name, "datatype": "INT64", "shape": [-1, -1]}
                for each in session.get_inputs()
            ],
            "outputs": [
                {
                    "name": each.name,
                    "datatype": "FP32",
                    "shape": [size if isinstance(size, int) else -1 for size in each.shape],
                }
                for each in session.get_outputs()
            ],
        }

    def _named(self, served: Served) -> dict[str, object]:
        return {
            "name": self.name,
            "versions": [str(served.version)],
            "platform": "onnxruntime_onnx",
        }

    async def predict(
        self,
        payload: InferRequest,
        headers: dict[str, str] | None = None,
        response_headers: dict[str, str] | None = None,
    ) -> InferResponse:
        """Answer a tensor request."""
        served = self.served(payload.model_version)
        if served.classifier.task.continues:
            raise RequestError("A language model takes no tensors. Send texts.")
        check_outputs(payload.request_outputs or (), _output_names(served))
        tensors = read_inputs(payload.inputs, served, self._settings)
        answer = await self.slot.batcher.submit(served, tensors)
        outputs = _infer_outputs(answer, payload)
        return InferResponse(
            response_id=payload.id or uuid4().hex,
            model_name=self.name,
            model_version=str(answer.served.version),
            infer_outputs=outputs,
            use_binary_outputs=any(_wants_bytes(payload, each.name) for each in outputs),
        )

    async def classify(
        self, texts: Sequence[tuple[str, ...]], version: str | None = None
    ) -> Answer:
        """Answer a text request."""
        return await self.slot.batcher.submit(self.served(version), texts)

    async def complete(
        self, texts: Sequence[tuple[str, ...]], tokens: int | None, version: str | None = None
    ) -> tuple[Served, list[Completion]]:
        """Continue texts; return the language model too, and as many tokens of each at most."""
        served = self.served(version)
        return served, await self.slot.batcher.complete(served, texts, tokens)


class Plane(DataPlane):  # type: ignore[misc] # KServe's; it has no types
    """KServe's data plane, which knows when the server is really ready."""

    def __init__(self, models: Sequence[Student]) -> None:
        repository = ModelRepository()
        for model in models:
            repository.update(model)
        super().__init__(repository)
        self.models = {model.name: model for model in models}
        self.is_draining = False

    def metadata(self) -> dict[str, object]:
        """Return the server's name, version, and extensions of the protocol."""
        return {
            "name": "adapter-distill",
            "version": installed_version("adapter-distill"),
            "extensions": ["binary_tensor_data"],
        }

    async def ready(self) -> bool:
        """Return whether all that can be served is, and the server is not about to stop.

        A name without a champion does not keep the others from being served.
        """
        loaded, without = self.loaded(), self.without_champion()
        return not self.is_draining and 0 < loaded == len(self.models) - without

    def loaded(self) -> int:
        """Return how many models are loaded."""
        return sum(model.ready for model in self.models.values())

    def without_champion(self) -> int:
        """Return how many names have no model and no champion."""
        slots = [model.slot for model in self.models.values()]
        return sum(slot.served is None and not slot.has_champion for slot in slots)

    def index(self, *, only_ready: bool = False) -> list[dict[str, str]]:
        """Return each model's name, version, state and reason, as a repository index has them."""
        entries = []
        for name, model in self.models.items():
            served = model.slot.served
            if only_ready and not served:
                continue
            state = "READY" if served else "UNAVAILABLE"
            reason = "" if served else model.slot.missing
            version = str(served.version) if served else ""
            entries.append({"name": name, "version": version, "state": state, "reason": reason})
        return entries

    def find(self, name: str) -> Student:
        """Return a served model."""
        model = self.models.get(name)
        if model is None:
            raise ModelNotFound(name)
        return model


def _check_version(served: Served, version: str | None) -> None:
    if version and version != str(served.version):
        raise UnknownVersionError(
            f"Version {version[:20]!r} is not served; {served.version} is. Name that version, or "
            "none."
        )


# Any: onnxruntime has no types.
def _whole_graph(session: Any) -> dict[str, object]:
    """Return a graph's inputs and outputs as the protocol has them, by what it says of itself."""

    def described(each: Any) -> dict[str, object]:
        shape = [size if isinstance(size, int) else -1 for size in each.shape]
        return {"name": each.name, "datatype": _DATATYPES[each.type], "shape": shape}

    return {
        "inputs": [described(each) for each in session.get_inputs()],
        "outputs": [described(each) for each in session.get_outputs()],
    }


def _output_names(served: Served) -> list[str]:
    return [each.name for each in served.classifier.session.get_outputs()]


def _infer_outputs(answer: Answer, payload: InferRequest) -> list[InferOutput]:
    """Return the outputs that a request asks for, or all: each a tensor of its own."""
    names = _output_names(answer.served)
    columns = [answer.outputs] if len(names) == 1 else list(np.moveaxis(answer.outputs, -1, 0))
    wanted = [each.name for each in payload.request_outputs or ()] or names
    outputs = []
    for name, values in zip(names, columns, strict=True):
        if name in wanted:
            output = InferOutput(name, list(values.shape), "FP32")
            in_binary = _wants_bytes(payload, name)
            output.set_data_from_numpy(np.ascontiguousarray(values), binary_data=in_binary)
            outputs.append(output)
    return outputs


def _wants_bytes(payload: InferRequest, name: str) -> bool:
    """Return whether an output's tensor is wanted in binary: by its own parameter, or by all's."""
    for each in payload.request_outputs or ():
        if each.name == name and not payload.from_grpc and each.binary_data is not None:
            return bool(each.binary_data)
    wanted = payload.use_binary_outputs
    if not isinstance(wanted, bool):
        raise RequestError("binary_data_output is true or false.")
    return wanted
