import dataclasses
import multiprocessing

import numpy as np
import pytest

from pipeline.config import BenchmarkConfig
from pipeline.facts.arms import TORCH_TEACHER
from pipeline.facts.export import ExportFacts
from pipeline.stages.benchmark import MEASUREMENT, BenchmarkSettings, benchmark
from pipeline.store.stage import Stage
from pipeline.timing.machine import describe_machine
from pipeline.timing.measurement import read_measurement
from pipeline.timing.plan import MeasurementPlan
from pipeline.timing.summary import describe_measurement
from pipeline.timing.verdict import decide_measured

ARMS = ["plain", "plain again", "teacher", "student"]
TINY = BenchmarkConfig(
    batch_sizes=(1, 2),
    lengths=(4,),
    own_lengths=3,
    min_blocks=3,
    max_blocks=3,
    rounds=2,
    warmup_runs=1,
    ladder_blocks=0,
    seconds_per_file=0.01,
    throughput_batch=2,
)
ONE = TINY.model_copy(update={"batch_sizes": (1,), "own_lengths": 0})
# Large enough that an adapter's share of the time is far above a clock's resolution.
LARGE = {"layers": 4, "hidden_size": 256, "vocab_size": 50}
ADAPTERS = {"adapters": 4, "bottleneck_size": 128}


@pytest.fixture(scope="module")
def exported(write_bundle, tmp_path_factory):
    """``exported(**settings by model)``: a finished export stage of three tiny classifiers."""

    def exported(**settings):
        folder = tmp_path_factory.mktemp("export")
        shapes = {"plain": {}, "teacher": {"adapters": 1}, "student": {"seed": 1}}
        for arm, shape in shapes.items():
            write_bundle(folder / arm, **settings.get(arm, shape))
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


@pytest.fixture(scope="module")
def settings_of(tiny_context):
    """``settings_of(config, max_length=16)``: those of the stage."""

    def settings_of(config, max_length=16):
        return BenchmarkSettings(
            context=dataclasses.replace(tiny_context, max_length=max_length),
            benchmark=config,
            machine=describe_machine(),
        )

    return settings_of


@pytest.fixture(scope="module")
def measure(exported, tiny_data, tiny_teacher, settings_of, tmp_path_factory):
    """``measure(config, max_length=128, **settings by model)``: facts and the measurement."""

    def measure(config, *, max_length=128, **settings):
        out = tmp_path_factory.mktemp("benchmark")
        facts = benchmark(
            tiny_data,
            tiny_teacher,
            exported(**settings),
            None,
            settings_of(config, max_length),
            out,
        )
        return facts, read_measurement(out / MEASUREMENT)

    return measure


@pytest.fixture(scope="module")
def measured(measure):
    """Facts and the measurement of `TINY`."""
    return measure(TINY)


def test_every_arm_is_measured_in_every_cell(measured):
    facts, raw = measured

    cells = [(1, 4), (2, 4), (1, None)]
    found = [(e.batch, e.length, e.arm) for e in facts.latency]
    assert found == [(batch, length, arm) for batch, length in cells for arm in ARMS]
    assert [(cell.batch, cell.length) for cell in raw.cells] == cells
    assert facts.blocks == 3
    assert facts.machine == describe_machine()


def test_raw_times_are_kept_and_statistics_follow_from_them(measured):
    facts, raw = measured

    for block in raw.cells[0].blocks:
        assert {arm: len(times) for arm, times in block.cpu_ns.items()} == dict.fromkeys(ARMS, 2)
        assert {arm: len(times) for arm, times in block.wall_ns.items()} == dict.fromkeys(ARMS, 2)
    assert describe_measurement(raw, TINY.confidence) == facts
    assert facts.latency[0].ratio_to_plain == 1.0
    for row in facts.latency:
        assert row.ci_low <= row.ratio_to_plain <= row.ci_high
        assert row.median_ms <= row.p95_ms <= row.p99_ms


def test_own_lengths_are_one_more_cell(measured):
    facts, raw = measured

    assert raw.cells[-1].calls == 3
    assert len(raw.cells[-1].blocks[0].cpu_ns["plain"]) == 2 * 3
    assert facts.latency[-1].cell == "batch 1, own lengths"


def test_structure_tells_the_student_from_the_teacher(measured):
    facts, _ = measured

    structure = facts.verdict.structure
    assert structure.student_is_plain
    assert not structure.student_is_teacher
    assert not structure.teacher_is_plain
    assert facts.verdict.claim == "equal to plain"
    assert facts.graphs["teacher"].adapter_traces


def test_every_file_is_loaded_and_run_with_all_cores(measured):
    facts, _ = measured

    assert set(facts.costs) == {"plain", "teacher", "student"}
    for cost in facts.costs.values():
        assert cost.threads == int(facts.machine["cores"])
        assert 0 < cost.p50_ms <= cost.p95_ms <= cost.p99_ms
        assert cost.load_ms > 0
        assert cost.texts_per_second > 0
        assert 20e6 < cost.peak_rss_bytes < 500e6  # Python, NumPy and onnxruntime alone


def test_lengths_above_the_models_are_measured_once_at_its_longest(measure):
    facts, _ = measure(ONE.model_copy(update={"lengths": (4, 64, 512)}), max_length=6)

    assert sorted({found.length for found in facts.latency}) == [4, 6]
    assert len(facts.latency) == 2 * len(ARMS)


def test_three_blocks_are_made_when_time_is_up(measure):
    late = {"max_blocks": 50, "min_blocks": 50, "seconds_per_cell": 1e-9}

    facts, raw = measure(ONE.model_copy(update=late))

    assert facts.blocks == len(raw.cells[0].blocks) == 3


def test_token_ids_fit_the_smaller_vocabulary(measure):
    config = ONE.model_copy(update={"batch_sizes": (8,), "lengths": (64,), "own_lengths": 2})

    facts, _ = measure(config, student={"vocab_size": 3})  # an id above 2 would fail

    assert len(facts.latency) == 2 * len(ARMS)


def test_models_may_take_different_inputs(measure):
    facts, _ = measure(ONE, student={"inputs": ("input_ids", "attention_mask")})

    assert len(facts.latency) == len(ARMS)


@pytest.fixture(scope="module")
def with_ladder(
    tiny_export, tiny_quantized, tiny_data, tiny_teacher, settings_of, tmp_path_factory
):
    """Facts of tiny files with a ladder; int8 ships."""
    int8 = dataclasses.replace(tiny_quantized.facts, chosen="int8", file="model_quantized.onnx")
    shipped = dataclasses.replace(tiny_quantized, facts=int8)
    config = ONE.model_copy(update={"ladder_blocks": 3})
    out = tmp_path_factory.mktemp("ladder")
    return benchmark(tiny_data, tiny_teacher, tiny_export, shipped, settings_of(config), out)


@pytest.mark.slow
def test_file_that_ships_stands_on_the_ladder(with_ladder):
    files = {"plain", "teacher", "student", "student int8"}

    assert {rung.arm for rung in with_ladder.ladder} == {TORCH_TEACHER, *files}
    assert set(with_ladder.costs) == files
    assert "MatMulInteger" in with_ladder.graphs["student int8"].operators


@pytest.mark.slow
def test_ladder_begins_with_the_teacher_in_pytorch(with_ladder):
    facts = with_ladder

    rungs = {rung.arm: rung for rung in facts.ladder}
    assert rungs[TORCH_TEACHER].runtime == "PyTorch"
    assert rungs[TORCH_TEACHER].faster_than_torch.value == 1.0
    assert [r.mean_ms.value for r in facts.ladder] == sorted(
        (r.mean_ms.value for r in facts.ladder), reverse=True
    )
    for rung in facts.ladder:
        # A ratio of geometric means over the same blocks.
        expected = rungs[TORCH_TEACHER].mean_ms.value / rung.mean_ms.value
        assert rung.faster_than_torch.value == pytest.approx(expected)
    assert facts.verdict.structure.student_is_plain
    assert facts.graphs["student"].hash == facts.graphs["plain"].hash
    assert facts.graphs["student"].adapter_traces == ()


def test_what_a_failing_process_said_is_passed_on(
    exported, tiny_data, tiny_teacher, settings_of, tmp_path
):
    stage = exported(student={"hidden_size": 8, "vocab_size": 20})
    path = stage.folder / "student" / "onnx" / "model.onnx"
    path.write_bytes(path.read_bytes().replace(b"ReduceMean", b"ReduceNone"))

    with pytest.raises(RuntimeError, match=r"process pipeline\.timing\.time_cell failed"):
        benchmark(tiny_data, tiny_teacher, stage, None, settings_of(ONE, 8), tmp_path)


def planted(**update):
    """Return settings under which differences of several per cent are seen in seconds."""
    settings = {
        "lengths": (32,),
        "min_blocks": 8,
        "max_blocks": 24,
        "rounds": 10,
        "warmup_runs": 3,
        "seconds_per_cell": 20,
    }
    return ONE.model_copy(update=settings | update)


def test_student_that_kept_its_adapters_keeps_the_overhead(measure):
    # A planted slow student: other adapters than the teacher's, under names that hide them.
    slow = LARGE | ADAPTERS | {"bottleneck_size": 120, "adapter_name": "extra"}

    facts, _ = measure(planted(), plain=LARGE, teacher=LARGE | ADAPTERS, student=slow)

    assert facts.graphs["student"].adapter_traces == ()
    assert facts.verdict.outcome == "overhead_remains"
    assert "is gone; 75% must be" in facts.verdict.reasons[0]


def test_student_with_one_more_layer_keeps_the_overhead(measure):
    facts, _ = measure(
        planted(), plain=LARGE, teacher=LARGE | ADAPTERS, student=LARGE | {"layers": 5}
    )

    assert facts.verdict.outcome == "overhead_remains"


def burn():
    rng = np.random.default_rng(0)
    while True:
        size = int(rng.integers(64, 1024))
        np.sort(rng.normal(size=(size, 512)), axis=0)


def test_noisy_machine_never_passes_a_slow_student(measure):
    context = multiprocessing.get_context("spawn")
    burners = [context.Process(target=burn, daemon=True) for _ in range(3)]
    for burner in burners:
        burner.start()
    try:
        config = planted(max_blocks=4, min_blocks=4, rounds=2)
        slow = LARGE | {"layers": 5}
        facts, _ = measure(config, plain=LARGE, teacher=LARGE | ADAPTERS, student=slow)
    finally:
        for burner in burners:
            burner.kill()
            burner.join()

    assert facts.verdict.outcome != "overhead_gone"
    assert facts.conditions.busy > 0.5


def disturbed(cell, noise):
    """Return a measured cell as a machine would show it on which each session differs so much."""
    rng = np.random.default_rng(0)
    blocks = []
    for block in cell.blocks:
        factors = {arm: rng.lognormal(0, noise) for arm in block.cpu_ns}
        cpu_ns = {arm: [round(t * factors[arm]) for t in block.cpu_ns[arm]] for arm in factors}
        blocks.append(dataclasses.replace(block, cpu_ns=cpu_ns))
    return dataclasses.replace(cell, blocks=tuple(blocks))


@pytest.mark.parametrize("slow", [{}, {"layers": 5}], ids=["equal student", "slow student"])
def test_noise_between_sessions_makes_it_inconclusive(measure, slow):
    config = planted(min_blocks=8, max_blocks=8)
    facts, raw = measure(config, plain=LARGE, teacher=LARGE | ADAPTERS, student=LARGE | slow)
    plan = MeasurementPlan(
        files={},
        candidate="student",
        baseline="plain",
        teacher="teacher",
        others=(),
        workloads=(),
        texts=None,
        torch_teacher=None,
    )

    found = decide_measured(plan, facts.graphs, [disturbed(raw.cells[0], 0.3)], config)

    assert found.outcome == "inconclusive"
    assert not found.cells[0].calibrated
    assert "too noisy" in found.reasons[0]
