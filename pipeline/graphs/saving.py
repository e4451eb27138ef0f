"""Graphs on disk: in one file, or with their weights beside it where one file cannot hold them.

A file of protobuf holds 2 GB at most. Larger weights are external data, in one file beside the
graph, whose name the graph holds.
"""

from pathlib import Path

import onnx_ir

from pipeline.inference.session import DATA

MOST_BYTES = 2**31 - 2**24
"""Most bytes of weights in the graph's file; the rest is for the graph itself."""


def save_graph(graph: onnx_ir.Model, path: Path, *, most_bytes: int = MOST_BYTES) -> None:
    """Write a graph; its weights stand in another file where they are more than so many bytes."""
    tensors = (each.const_value for each in graph.graph.initializers.values())
    size = sum(tensor.nbytes for tensor in tensors if tensor is not None)
    if size <= most_bytes:
        onnx_ir.save(graph, path)
        return
    onnx_ir.save(graph, path, external_data=path.name + DATA)


def data_of(path: Path) -> Path:
    """Return the file with a graph's weights, which is there where the graph holds none."""
    return path.with_name(path.name + DATA)
