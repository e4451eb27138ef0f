"""onnxruntime sessions, opened as a bundle's file wants to be run."""

import mmap
from pathlib import Path

import onnxruntime as ort

from pipeline.facts.variants import Runtime
from pipeline.inference.processor import has_vnni
from pipeline.inference.providers import check_started, provider_names
from pipeline.inference.tokens import INPUTS
from pipeline.workers.threads import count_threads

DATA = ".data"
"""Ending of the file with the weights of a graph that is too large for one, after its name."""
EXACT_SUMS = "session.x64quantprecision"
"""The session setting that keeps 8-bit sums from saturating on x86 without dot products (VNNI)."""


def open_session(runtime: Runtime, bundle: Path, *, threads: int = 0) -> ort.InferenceSession:
    """Return a session of a bundle's file; 0 threads are as many as this process may run."""
    return open_file(runtime, bundle / "onnx" / runtime.file, threads=threads)


def open_file(runtime: Runtime, file: Path | bytes, *, threads: int = 0) -> ort.InferenceSession:
    """Return a session of any file, or of its content, with these settings.

    Zero threads stand for as many as this process may run. In onnxruntime zero would be one per
    core of the host, each bound to its core.

    Raises:
        InputError: when the provider is not installed, or does not start.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or count_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors are raised: a log must not tell of inputs as well
    for key, value in runtime.session_config.items():
        # Sums are exact with VNNI; there the setting changes no bit, and costs two fifths.
        if key != EXACT_SUMS or not has_vnni():
            options.add_session_config_entry(key, value)
    session = ort.InferenceSession(
        file,
        options,
        providers=provider_names(runtime.provider),
        disabled_optimizers=list(runtime.disabled_optimizers),
        enable_fallback=0,  # it would print, and try the same provider again
    )
    check_started(session, runtime.provider)
    return session


def mixes_rows(path: Path) -> bool:
    """Return whether an ONNX file's output for a text depends on the texts beside it in a call.

    Dynamic quantisation rounds the activations of a call with one scale, which the largest of all
    its texts sets. No operator of onnxruntime has a scale per row.
    """
    # Names of operators stand in the file as they are. Reading the graph would take onnx, which a
    # server does without.
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(b"DynamicQuantize") >= 0


def check_graph(session: ort.InferenceSession, *, outputs: int, axes: int) -> None:
    """Refuse a graph that does not give so many outputs for each text, or each of its tokens."""
    inputs = [each.name for each in session.get_inputs()]
    found = session.get_outputs()
    shape = found[0].shape if len(found) == 1 else [*found[0].shape, len(found)]
    if not set(inputs) <= set(INPUTS) or len(shape) != axes:
        raise ValueError(
            f"its graph maps {', '.join(inputs)} to the shape {shape}; expected "
            f"{'texts by outputs' if axes == 2 else 'texts by tokens by outputs'}, "
            f"of {', '.join(INPUTS)}"
        )
    if isinstance(shape[-1], int) and shape[-1] != outputs:
        raise ValueError(f"its graph has {shape[-1]} outputs, and its config.json {outputs}")
