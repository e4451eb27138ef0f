"""Stage benchmark: what a call costs in onnxruntime, paired, with the noise beside the result.

Four arms: the plain backbone, the same file again (A/A: what differs there is noise), the adapter
teacher (which is known to be slower: a rig that cannot see it cannot see anything) and the
student. One process a cell; how it measures is in benchmark_cell.py. Ratios are of thread CPU time
to the plain backbone's, one per block; their intervals are Student's over blocks, on the log scale.
"""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np
from scipy import stats
from tqdm.auto import tqdm

from pipeline.artifacts import Stage, write_atomic
from pipeline.benchmark_cell import Block, CellSpec
from pipeline.config import BenchmarkConfig
from pipeline.inference import MODEL
from pipeline.records import BenchmarkFacts, ExportFacts, Latency

PLAIN, AGAIN, TEACHER, STUDENT = "plain", "plain again", "teacher", "student"


def benchmark(
    exported: Stage[ExportFacts], config: BenchmarkConfig, out: Path, *, max_length: int, seed: int
) -> BenchmarkFacts:
    """Time the exported files in every cell; write the raw times to ``out``.

    Args:
        max_length: Lengths above it are measured at it: the model takes no more.

    Raises:
        RuntimeError: when a measuring process fails, with what it said.
    """
    files = {
        PLAIN: exported.folder / "plain" / MODEL,
        AGAIN: exported.folder / "plain" / MODEL,
        TEACHER: exported.folder / "teacher" / MODEL,
        STUDENT: exported.folder / "student" / MODEL,
    }
    vocabularies = [
        json.loads((exported.folder / arm / "config.json").read_text())["vocab_size"]
        for arm in (PLAIN, STUDENT)
    ]
    lengths = sorted({min(length, max_length) for length in config.lengths})
    cells = [(batch, length) for batch in config.batch_sizes for length in lengths]
    raw: list[dict[str, object]] = []
    latency: list[Latency] = []
    fewest = config.blocks
    for batch, length in tqdm(cells, desc="benchmark", unit="cell", leave=False, disable=None):
        spec = CellSpec(
            files={arm: str(path) for arm, path in files.items()},
            batch=batch,
            length=length,
            vocab_size=min(vocabularies),
            blocks=config.blocks,
            rounds=config.rounds,
            warmup_runs=config.warmup_runs,
            seconds=config.seconds_per_cell,
            seed=seed,
        )
        blocks = _run_cell(spec)
        raw.append({"batch": batch, "length": length, "blocks": [asdict(b) for b in blocks]})
        fewest = min(fewest, len(blocks))
        latency += _summarise(blocks, batch, length, config.confidence)
    write_atomic(out / "blocks.json", json.dumps(raw))
    return BenchmarkFacts(
        blocks=fewest,
        confidence=config.confidence,
        latency=tuple(latency),
        notes=tuple(_notes(latency)),
        machine=describe_machine(),
    )


def describe_machine() -> dict[str, str]:
    """Return what a timing depends on: processor, cores and versions."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "cpu": cpu,
        "cores": str(len(os.sched_getaffinity(0))),
        "python": platform.python_version(),
        "onnxruntime": version("onnxruntime"),
    }


def _run_cell(spec: CellSpec) -> list[Block]:
    """Measure one cell in a process of its own, on one thread, with large pages where possible."""
    process = subprocess.run(
        [sys.executable, "-m", "pipeline.benchmark_cell"],
        input=json.dumps(asdict(spec)),
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"},
    )
    if process.returncode != 0:
        raise RuntimeError(f"The measuring process failed:\n{process.stderr[-2000:]}")
    return [Block(**block) for block in json.loads(process.stdout)]


def _summarise(
    blocks: Sequence[Block], batch: int, length: int, confidence: float
) -> list[Latency]:
    rows = []
    for arm in (PLAIN, AGAIN, TEACHER, STUDENT):
        ratio, low, high = ratio_interval(blocks, arm, PLAIN, confidence)
        wall = [time for block in blocks for time in block.wall_ns[arm]]
        rows.append(
            Latency(
                arm=arm,
                batch=batch,
                length=length,
                median_ms=round(float(np.median(wall)) / 1e6, 4),
                ratio_to_plain=ratio,
                ci_low=low,
                ci_high=high,
            )
        )
    return rows


def ratio_interval(
    blocks: Sequence[Block], arm: str, base: str, confidence: float
) -> tuple[float, float, float]:
    """Return the ratio of two arms' CPU times, and its interval over blocks.

    Each block gives one log-ratio of medians; the interval is Student's t of their mean.
    """
    logs = np.log([np.median(b.cpu_ns[arm]) / np.median(b.cpu_ns[base]) for b in blocks])
    mean, error = logs.mean(), logs.std(ddof=1) / np.sqrt(len(logs))
    half = float(stats.t.ppf((1 + confidence) / 2, len(logs) - 1) * error)
    return float(np.exp(mean)), float(np.exp(mean - half)), float(np.exp(mean + half))


def _notes(latency: Sequence[Latency]) -> list[str]:
    """Say where these measurements cannot tell the arms apart."""
    notes = []
    by_cell = {(entry.batch, entry.length, entry.arm): entry for entry in latency}
    for batch, length in sorted({(entry.batch, entry.length) for entry in latency}):
        again = by_cell[batch, length, AGAIN]
        teacher = by_cell[batch, length, TEACHER]
        noise = max(again.ci_high - 1, 1 - again.ci_low)
        effect = teacher.ratio_to_plain - 1
        if noise >= effect:
            notes.append(
                f"batch {batch}, {length} tokens: the same file measured twice differs by up to "
                f"{noise:.1%}, the adapters cost {effect:.1%}. The noise is larger than the "
                "effect here: measure on a quieter machine or raise benchmark.blocks."
            )
    return notes
