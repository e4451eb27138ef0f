"""Every damage of what a benchmark reads ends in one clear error, or does no harm."""

import dataclasses

import numpy as np
import pytest
from support.damage import damages, problems

from pipeline.errors import InputError
from pipeline.facts.latency import Conditions, Graph
from pipeline.graphs.structure import describe_graph, load_graph, vocabulary_size
from pipeline.inference.classifier import runtime_of
from pipeline.timing.blocks import Block
from pipeline.timing.cells import MeasuredCell
from pipeline.timing.comparison import compare_measurements
from pipeline.timing.measurement import Measurement, read_measurement, write_measurement
from pipeline.timing.workload import own_lengths, tokenizer_limit

IDLE = Conditions(load_before=0, load_after=0, steal=0, busy=0, involuntary_switches=0)


def measurement(**changes):
    """Return a measurement of two blocks of one cell."""
    graph = Graph(
        hash="0" * 16,
        sha256="p",
        size_bytes=1,
        operators={"Add": 1},
        parameters=1,
        multiply_adds=None,
        adapter_traces=(),
    )
    rng = np.random.default_rng(0)

    def block():
        times = {arm: rng.integers(100, 110, 4).tolist() for arm in ("plain", "student")}
        return Block(cpu_ns=times, wall_ns=times)

    blocks = (block(), block())
    cell = MeasuredCell(batch=1, length=16, calls=2, seconds=1.0, blocks=blocks)
    sound = Measurement(
        created="2026-01-01T00:00:00+00:00",
        machine={"cpu": "A processor"},
        conditions=IDLE,
        candidate="student",
        baseline="plain",
        teacher=None,
        graphs={"plain": graph, "student": graph},
        costs={},
        cells=(cell,),
        ladder=(),
        ladder_calls=1,
        verdict=None,
    )
    return dataclasses.replace(sound, **changes)


def test_damaged_measurement_is_refused_or_harmless(tmp_path):
    sound = measurement()

    def read(folder):
        found = read_measurement(folder / "benchmark.json")
        if found.machine == sound.machine:
            compare_measurements(found, sound)
            compare_measurements(sound, found)

    folder = tmp_path / "sound"
    folder.mkdir()
    write_measurement(sound, folder / "benchmark.json")
    values = (None, -1, 0, 1.5, "x", [], [1], {})
    chosen = damages(folder, values=values, deepest=6)
    # Cells with other names have nothing to compare, which names no file.
    chosen = (each for each in chosen if "'length'" not in each[0] and "'batch'" not in each[0])

    assert problems(folder, tmp_path, read, chosen=chosen, every=3) == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"candidate": "other"}, "it has no graph of 'other'"),
        (
            {"cells": (dataclasses.replace(measurement().cells[0], blocks=()),)},
            "no cell of 'student'",
        ),
        ({"cells": (dataclasses.replace(measurement().cells[0], calls=3),)}, "no whole rounds"),
    ],
)
def test_measurement_that_contradicts_itself_is_refused(tmp_path, changes, problem):
    write_measurement(measurement(**changes), tmp_path / "b.json")

    with pytest.raises(InputError, match=f"b.json contradicts itself: .*{problem}.*Measure again"):
        read_measurement(tmp_path / "b.json")


def test_damaged_bundle_cannot_be_measured_and_says_so(write_words_bundle, tmp_path):
    folder = write_words_bundle(tmp_path / "student")
    (folder / "onnx" / "runtime.json").write_text('{"session_config": {"a": "b"}}')

    def read(copy):
        path = copy / "onnx" / "model.onnx"
        vocabulary_size(load_graph(path))
        describe_graph(path)
        runtime_of(path)
        limit = min(64, tokenizer_limit(copy))
        own_lengths(copy, [("good",), ("bad",)], count=2, max_length=limit, vocabulary=9)

    chosen = (each for seed in range(3) for each in damages(folder, seed=seed))
    chosen = (each for each in chosen if "vocab" not in each[0])

    assert problems(folder, tmp_path, read, chosen=chosen, every=5) == []
