"""Graphs on disk, in one file or with the weights in a second one.

A protobuf file holds 2 GB at most. Larger weights are external data, in one file beside the graph,
and the graph holds that file's name.
"""

from pathlib import Path

import onnx_ir

from pipeline.inference.session import DATA

MOST_BYTES = 2**31 - 2**24
"""Most bytes of weights in the graph's own file, which leaves room for the graph."""


def save_graph(graph: onnx_ir.Model, path: Path, *, most_bytes: int = MOST_BYTES) -> None:
    """Write a graph, with its weights in a second file if they exceed so many bytes."""
    tensors = (each.const_value for each in graph.graph.initializers.values())
    size = sum(tensor.nbytes for tensor in tensors if tensor is not None)
    if size <= most_bytes:
        onnx_ir.save(graph, path)
        return
    onnx_ir.save(graph, path, external_data=path.name + DATA)


def data_of(path: Path) -> Path:
    """Return the path of a graph's external weights, which exist only for a large graph."""
    return path.with_name(path.name + DATA)
