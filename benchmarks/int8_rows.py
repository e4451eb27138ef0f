"""Cost of running each text of an int8 file alone, so that no text depends on its neighbours.

    python -m benchmarks.int8_rows [--out docs/int8-rows.json]

An int8 file takes one scale of its activations for a whole call. The server therefore runs its
texts one by one (`serve --mix-rows` does not). This measures one thread's time per text: alone, and
in calls of several texts of the same length, in turn. The file has MiniLM-L6's shape, and random
weights.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification

from pipeline.config import ExportConfig
from pipeline.facts.arms import PLAIN
from pipeline.facts.variants import Runtime
from pipeline.graphs.int8 import INT8_SESSION, write_int8
from pipeline.graphs.trace import Traced, write_graph
from pipeline.inference.session import open_session
from pipeline.timing.machine import describe_machine

LENGTHS, BATCHES = (16, 64, 128), (4, 16)
SECONDS = 5.0
"""Time of each cell."""


def feeds_of(batch: int, tokens: int, seed: int) -> dict[str, np.ndarray]:
    """Return random texts without padding."""
    ids = np.random.default_rng(seed).integers(1000, 20000, size=(batch, tokens))
    ones = np.ones_like(ids)
    return {"input_ids": ids, "attention_mask": ones, "token_type_ids": 0 * ones}


def write_bundle(folder: Path) -> None:
    """Write an int8 file of a random model."""
    torch.manual_seed(0)
    shape = {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536}
    model = BertForSequenceClassification(BertConfig(**shape, num_attention_heads=12)).eval()
    traced = Traced(model=model, name=PLAIN, output_names=("logits",), max_length=128)
    write_graph(traced, folder / "onnx" / "model.onnx", ExportConfig())
    calibration = (feeds_of(1, 32, seed) for seed in range(16))
    write_int8(folder / "onnx" / "model.onnx", folder / "onnx" / "int8.onnx", calibration)


def measure(folder: Path) -> list[dict[str, float]]:
    """Return milliseconds per text, alone and together, for each length and size of a call."""
    runtime = Runtime(file="int8.onnx", session_config=INT8_SESSION)
    session = open_session(runtime, folder, threads=1)
    names = {each.name for each in session.get_inputs()}
    rows = []
    for tokens in LENGTHS:
        for batch in BATCHES:
            together = {k: v for k, v in feeds_of(batch, tokens, 0).items() if k in names}
            alone = [{k: v[row : row + 1] for k, v in together.items()} for row in range(batch)]
            session.run(None, together)
            times = np.zeros((0, 2))
            end_s = time.perf_counter() + SECONDS
            while time.perf_counter() < end_s:
                started_s = time.perf_counter()
                for each in alone:
                    session.run(None, each)
                middle_s = time.perf_counter()
                session.run(None, together)
                pair = [middle_s - started_s, time.perf_counter() - middle_s]
                times = np.vstack([times, pair])
            medians = 1000 * np.median(times, axis=0) / batch
            cost = float(np.median(times[:, 0] / times[:, 1])) - 1
            row = {"tokens": tokens, "texts": batch, "alone_ms": round(float(medians[0]), 3)}
            row |= {"together_ms": round(float(medians[1]), 3), "cost": round(cost, 3)}
            print(row, flush=True)
            rows.append(row)
    return rows


def main() -> None:
    """Measure and print; write the rows where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        write_bundle(Path(scratch))
        rows = measure(Path(scratch))
    if given.out:
        found = {"machine": describe_machine(), "rows": rows}
        given.out.write_text(json.dumps(found, indent=2, default=str) + "\n")


if __name__ == "__main__":
    main()
