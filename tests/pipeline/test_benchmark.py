import json
import math

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipeline.artifacts import Stage
from pipeline.benchmark import _notes, benchmark, describe_machine, ratio_interval
from pipeline.benchmark_cell import Block
from pipeline.config import BenchmarkConfig
from pipeline.records import ExportFacts, Latency

ARMS = ["plain", "plain again", "teacher", "student"]
ALL_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
TINY = BenchmarkConfig(batch_sizes=(1, 2), lengths=(4,), blocks=3, rounds=2, warmup_runs=1)


def write_onnx(folder, *, inputs=ALL_INPUTS, vocab_size=20):
    """Write a classifier of two classes: the mean of its tokens' embeddings."""
    (folder / "onnx").mkdir(parents=True)
    table = np.random.default_rng(0).normal(size=(vocab_size, 2)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "input_ids"], ["embedded"]),
            helper.make_node("ReduceMean", ["embedded", "axes"], ["logits"], keepdims=0),
        ],
        "classifier",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["b", "t"]) for name in inputs],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", 2])],
        [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([1]), "axes")],
    )
    opsets = [helper.make_opsetid("", 20)]
    onnx.save(
        helper.make_model(graph, opset_imports=opsets, ir_version=10),
        folder / "onnx" / "model.onnx",
    )
    (folder / "config.json").write_text(json.dumps({"vocab_size": vocab_size}))


@pytest.fixture
def exported(tmp_path):
    """``exported(**settings by model)``: a finished export stage of three tiny classifiers."""

    def exported(**settings):
        folder = tmp_path / "export"
        for arm in ("plain", "teacher", "student"):
            write_onnx(folder / arm, **settings.get(arm, {}))
        return Stage(
            name="export",
            folder=folder,
            digest="0" * 64,
            facts=ExportFacts(opset=20, parity=()),
            artifacts=(),
            seconds=0.0,
            reused=False,
        )

    return exported


@pytest.fixture
def measure(exported, tmp_path):
    """``measure(config, max_length=128, **settings by model)``: facts and raw blocks."""

    def measure(config, *, max_length=128, **settings):
        out = tmp_path / "benchmark"
        out.mkdir()
        facts = benchmark(exported(**settings), config, out, max_length=max_length, seed=0)
        return facts, json.loads((out / "blocks.json").read_text())

    return measure


def blocks_of(*ratios, base=1000):
    """Return blocks in which the student takes these multiples of the plain backbone's time."""
    return [
        Block(
            cpu_ns={"plain": [base] * 3, "student": [round(base * ratio)] * 3},
            wall_ns={"plain": [1] * 3, "student": [1] * 3},
        )
        for ratio in ratios
    ]


def entry(arm, ratio=1.0, low=None, high=None, *, batch=1, length=16):
    return Latency(
        arm=arm,
        batch=batch,
        length=length,
        median_ms=1.0,
        ratio_to_plain=ratio,
        ci_low=ratio if low is None else low,
        ci_high=ratio if high is None else high,
    )


def test_equal_ratios_have_no_spread():
    assert ratio_interval(blocks_of(2, 2, 2), "student", "plain", 0.95) == pytest.approx((2, 2, 2))


def test_ratio_interval_by_hand():
    # Log-ratios 0, 1, 2: mean 1, standard error 1 / sqrt(3); Student's t at 0.975, 2 degrees of
    # freedom, is 4.302653.
    blocks = blocks_of(1, math.e, math.e**2, base=10**9)

    found = ratio_interval(blocks, "student", "plain", 0.95)

    half = 4.302653 / math.sqrt(3)
    assert found == pytest.approx((math.e, math.exp(1 - half), math.exp(1 + half)), rel=1e-5)


def test_interval_widens_with_the_confidence():
    blocks = blocks_of(1.0, 1.1, 1.2)

    _, low, high = ratio_interval(blocks, "student", "plain", 0.9)
    _, lower, higher = ratio_interval(blocks, "student", "plain", 0.99)

    assert lower < low < high < higher


def test_ratio_is_one_over_the_other_way_round():
    blocks = blocks_of(1.5, 1.25, 1.75)

    ratio, low, high = ratio_interval(blocks, "student", "plain", 0.95)

    back = ratio_interval(blocks, "plain", "student", 0.95)
    assert back == pytest.approx((1 / ratio, 1 / high, 1 / low))


def test_one_slow_call_of_a_block_does_not_count():
    blocks = [
        Block(cpu_ns={"plain": [10, 10, 10], "student": [20, 20, 9000]}, wall_ns={})
        for _ in range(3)
    ]

    assert ratio_interval(blocks, "student", "plain", 0.95)[0] == pytest.approx(2)


def test_machine_does_not_matter_where_both_arms_feel_it():
    quiet, busy = blocks_of(1.5, base=1000), blocks_of(1.5, base=8000)

    found = ratio_interval([*quiet, *busy], "student", "plain", 0.95)

    assert found == pytest.approx((1.5, 1.5, 1.5))


def test_no_note_where_the_adapters_cost_more_than_the_noise():
    latency = [entry("plain again", 1.0, 0.99, 1.02), entry("teacher", 1.03)]

    assert _notes(latency) == []


@pytest.mark.parametrize(
    ("low", "high"), [(0.99, 1.05), (0.95, 1.01)], ids=["slower again", "faster again"]
)
def test_noise_above_the_effect_is_noted(low, high):
    latency = [entry("plain again", 1.0, low, high), entry("teacher", 1.03)]

    (note,) = _notes(latency)

    assert note.startswith("batch 1, 16 tokens: ")
    assert "up to 5.0%" in note
    assert "the adapters cost 3.0%" in note
    assert "benchmark.blocks" in note


def test_teacher_that_seems_faster_is_noted():
    assert len(_notes([entry("plain again"), entry("teacher", 0.98)])) == 1


def test_notes_are_per_cell():
    latency = [
        entry("plain again", 1.0, 0.9, 1.1, batch=8, length=64),
        entry("teacher", 1.05, batch=8, length=64),
        entry("plain again", 1.0, 0.99, 1.01),
        entry("teacher", 1.05),
    ]

    (note,) = _notes(latency)

    assert note.startswith("batch 8, 64 tokens: ")


def test_every_arm_is_measured_in_every_cell(measure):
    facts, raw = measure(TINY)

    cells = [(1, 4), (2, 4)]
    found = [(e.batch, e.length, e.arm) for e in facts.latency]
    assert found == [(batch, length, arm) for batch, length in cells for arm in ARMS]
    assert [(cell["batch"], cell["length"]) for cell in raw] == cells
    assert facts.blocks == 3
    assert facts.machine == describe_machine()


def test_raw_times_are_kept_and_statistics_follow_from_them(measure):
    config = TINY.model_copy(update={"batch_sizes": (1,)})

    facts, raw = measure(config)

    blocks = [Block(**block) for block in raw[0]["blocks"]]
    assert len(blocks) == 3
    for found in facts.latency:
        for block in blocks:
            assert len(block.cpu_ns[found.arm]) == len(block.wall_ns[found.arm]) == 2
        expected = ratio_interval(blocks, found.arm, "plain", config.confidence)
        assert (found.ratio_to_plain, found.ci_low, found.ci_high) == expected
        assert found.ci_low <= found.ratio_to_plain <= found.ci_high
    assert facts.latency[0].ratio_to_plain == 1.0
    assert facts.notes == tuple(_notes(facts.latency))


def test_lengths_above_the_models_are_measured_once_at_its_longest(measure):
    config = TINY.model_copy(update={"batch_sizes": (1,), "lengths": (4, 64, 512)})

    facts, _ = measure(config, max_length=6)

    assert sorted({found.length for found in facts.latency}) == [4, 6]
    assert len(facts.latency) == 2 * len(ARMS)


def test_three_blocks_are_made_when_time_is_up(measure):
    config = TINY.model_copy(update={"batch_sizes": (1,), "blocks": 50, "seconds_per_cell": 1e-9})

    facts, raw = measure(config)

    assert facts.blocks == len(raw[0]["blocks"]) == 3


def test_token_ids_fit_the_smaller_vocabulary(measure):
    config = TINY.model_copy(update={"batch_sizes": (8,), "lengths": (64,)})

    facts, _ = measure(config, student={"vocab_size": 3})  # an id above 2 would fail

    assert len(facts.latency) == len(ARMS)


def test_models_may_take_different_inputs(measure):
    config = TINY.model_copy(update={"batch_sizes": (1,)})

    facts, _ = measure(config, student={"inputs": ("input_ids", "attention_mask")})

    assert len(facts.latency) == len(ARMS)


def test_what_a_failing_process_said_is_passed_on(exported, tmp_path):
    stage = exported()
    (stage.folder / "student" / "onnx" / "model.onnx").write_bytes(b"not a model")

    with pytest.raises(RuntimeError, match="measuring process failed") as caught:
        benchmark(stage, TINY, tmp_path, max_length=8, seed=0)

    assert str(stage.folder / "student") in str(caught.value)


def test_machine_says_what_a_timing_depends_on():
    machine = describe_machine()

    assert set(machine) >= {"cpu", "cores", "python", "onnxruntime"}
    assert all(machine.values())
