"""Execution providers of onnxruntime: what runs a graph's operators, and on which processor.

Each comes with a build of onnxruntime of its own, and only one build can be installed.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import onnxruntime as ort

from pipeline.errors import InputError
from pipeline.facts.variants import Provider


class _Engine(NamedTuple):
    name: str
    """Name in onnxruntime."""
    package: str
    """Package that has it, in place of ``onnxruntime``."""
    memory: str = "cpu"
    """Where it keeps tensors, as onnxruntime calls it."""


_CPU = "CPUExecutionProvider"
_ENGINES: dict[Provider, _Engine] = {
    "cpu": _Engine(_CPU, "onnxruntime"),
    "cuda": _Engine("CUDAExecutionProvider", "onnxruntime-gpu", "cuda"),
    "tensorrt": _Engine("TensorrtExecutionProvider", "onnxruntime-gpu, and TensorRT", "cuda"),
    "openvino": _Engine("OpenVINOExecutionProvider", "onnxruntime-openvino"),
    "coreml": _Engine("CoreMLExecutionProvider", "onnxruntime on macOS"),
}


def provider_names(provider: Provider) -> list[str]:
    """Return onnxruntime's names of a provider, and of the CPU's for operators that it lacks.

    Raises:
        InputError: when the installed onnxruntime lacks it, with the package that has it.
    """
    engine = _ENGINES[provider]
    found = ort.get_available_providers()
    if engine.name not in found:
        raise InputError(
            f"The provider {provider} is not installed: onnxruntime {ort.__version__} has "
            f"{', '.join(found)}. Uninstall onnxruntime, and install {engine.package}."
        )
    return list(dict.fromkeys((engine.name, _CPU)))


def check_started(session: ort.InferenceSession, provider: Provider) -> None:
    """Refuse a session that onnxruntime has moved to the CPU, because the provider did not start.

    Raises:
        InputError: naming the provider.
    """
    engine, found = _ENGINES[provider], session.get_providers()
    if engine.name not in found:
        raise InputError(
            f"The provider {provider} did not start, and onnxruntime used {', '.join(found)}. "
            f"Install the libraries and the driver that {engine.package} requires."
        )


class BoundCall:
    """A call whose tensors stay in the provider's memory; it returns when the device is done."""

    def __init__(
        self, session: ort.InferenceSession, feeds: Mapping[str, np.ndarray], provider: Provider
    ) -> None:
        memory = _ENGINES[provider].memory
        self.session = session
        self.binding = session.io_binding()
        for name, array in feeds.items():
            value = ort.OrtValue.ortvalue_from_numpy(array, memory, 0)
            self.binding.bind_ortvalue_input(name, value)
        for output in session.get_outputs():
            self.binding.bind_output(output.name, memory)

    def __call__(self) -> None:
        """Run the session, and wait for the device."""
        self.session.run_with_iobinding(self.binding)
        self.binding.synchronize_outputs()
