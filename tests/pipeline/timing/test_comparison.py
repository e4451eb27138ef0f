import dataclasses

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.facts.latency import Conditions, Graph
from pipeline.timing.blocks import Block
from pipeline.timing.cells import MeasuredCell
from pipeline.timing.comparison import compare_measurements
from pipeline.timing.machine import describe_machine
from pipeline.timing.measurement import Measurement, read_measurement, write_measurement

IDLE = Conditions(load_before=0, load_after=0, steal=0, busy=0, involuntary_switches=0)


def graph(sha256):
    return Graph(
        hash="0" * 16,
        sha256=sha256,
        size_bytes=1,
        operators={},
        parameters=1,
        multiply_adds=None,
        adapter_traces=(),
    )


def measurement(
    *, student=1.0, machine_factor=1.0, plain="p", seed=0, noise=1e-3, blocks=12, length=16
):
    """Return a measurement on a machine that takes this multiple of a quiet one's time."""
    rng = np.random.default_rng(seed)
    arms = {"plain": 1.0, "plain again": 1.0, "student": student}

    def block():
        factors = {arm: f * machine_factor * rng.lognormal(0, noise) for arm, f in arms.items()}
        times = {arm: [round(1e6 * factor)] * 2 for arm, factor in factors.items()}
        return Block(cpu_ns=times, wall_ns=times)

    cell = MeasuredCell(
        batch=1, length=length, calls=1, seconds=1.0, blocks=tuple(block() for _ in range(blocks))
    )
    return Measurement(
        created="2026-01-01T00:00:00+00:00",
        machine=describe_machine(),
        conditions=IDLE,
        candidate="student",
        baseline="plain",
        teacher=None,
        graphs={"plain": graph(plain), "student": graph("s")},
        costs={},
        cells=(cell,),
        ladder=(),
        ladder_calls=1,
        verdict=None,
    )


def test_faster_candidate_is_found_through_the_same_baseline():
    # The machine is a third slower on the second day; the baseline tells.
    found = compare_measurements(
        measurement(), measurement(student=0.9, machine_factor=1.33, seed=1)
    )

    (row,) = found.rows
    assert row.how == "through the same baseline"
    assert row.ratio.value == pytest.approx(0.9, abs=0.005)
    assert row.ratio.low < 0.9 < row.ratio.high
    assert found.finding == "B is: faster at batch 1, 16 tokens"


def test_other_baselines_leave_the_times_as_they_are():
    found = compare_measurements(measurement(), measurement(student=0.9, plain="other", seed=1))

    (row,) = found.rows
    assert row.how == "times as they are"
    assert row.ratio.value == pytest.approx(0.9, abs=0.005)


def test_same_candidate_on_another_day_is_no_difference():
    found = compare_measurements(measurement(noise=0.01), measurement(noise=0.01, seed=1))

    assert found.finding == "B is: no difference beyond the noise in 1 cells"


def test_slower_candidate_is_told():
    assert (
        "slower at"
        in compare_measurements(measurement(), measurement(student=1.05, seed=1)).finding
    )


@pytest.mark.parametrize("name", ["cpu", "cores", "onnxruntime", "huge pages"])
def test_measurements_of_different_machines_are_refused(name):
    other = measurement(seed=1)
    other = dataclasses.replace(other, machine=other.machine | {name: "another"})

    with pytest.raises(InputError, match=f"different machines.*{name}.*another"):
        compare_measurements(measurement(), other)


def test_measurements_without_a_common_cell_are_refused():
    with pytest.raises(InputError, match="A has batch 1, 16 tokens, B has batch 1, 32 tokens"):
        compare_measurements(measurement(), measurement(length=32))


def test_measurement_survives_its_file(tmp_path):
    path = tmp_path / "a.json"

    write_measurement(measurement(), path)

    assert read_measurement(path) == measurement()


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[1, 2]", b"\xff"])
def test_file_that_is_no_measurement_is_refused(tmp_path, content):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(InputError, match=r"a\.json"):
        read_measurement(path)
