import dataclasses
import math

import numpy as np
import pytest
from pydantic import TypeAdapter
from support.gate_facts import RULES

from pipeline.decisions.overhead import CellLogs
from pipeline.decisions.overhead import decide_overhead as decide
from pipeline.facts.overhead import Structure, Verdict
from pipeline.statistics.intervals import estimate_ratio

EQUAL = Structure(
    student_is_plain=True, student_is_teacher=False, teacher_is_plain=False, adapter_traces=()
)
SMALLER = dataclasses.replace(EQUAL, student_is_plain=False)
COST = 1.07
QUIET, NOISY = 0.006, 0.04
# Between a quiet machine's SD over blocks (0.7 %) and an overloaded one's (6.7 %).


def decide_overhead(structure, cells, rules=RULES):
    return decide(structure, cells, rules)


def cell(rng, *, student=1.0, teacher=COST, a_a=1.0, noise=QUIET, blocks=16, name="batch 1"):
    """Return a cell in which the arms take these multiples of the plain backbone's time."""
    own = rng.normal(0, noise, (4, blocks))
    ratios = {"a_a_arm": a_a, "teacher": teacher, "student": student}
    logs = {
        arm: math.log(ratio) + own[row + 1] - own[0]
        for row, (arm, ratio) in enumerate(ratios.items())
    }
    return CellLogs(name=name, **logs)


def exact(*, student=1.0, teacher=COST, a_a=1.0, spread=1e-4):
    """Return a cell nearly without noise."""
    steps = spread * np.array([-1, 0, 1, 0])
    logs = {"a_a_arm": a_a, "teacher": teacher, "student": student}
    return CellLogs(
        name="batch 1, 16 tokens", **{n: math.log(v) + steps * 0.5 for n, v in logs.items()}
    )


def outcomes(runs, structure=EQUAL, cells=1, **settings):
    rng = np.random.default_rng(0)
    found = [
        decide_overhead(structure, [cell(rng, **settings) for _ in range(cells)]).outcome
        for _ in range(runs)
    ]
    return {outcome: found.count(outcome) / runs for outcome in set(found)}


def test_equal_student_on_a_quiet_machine_is_free_of_the_overhead():
    assert outcomes(200).get("overhead_gone", 0) > 0.95


def test_slow_student_on_a_quiet_machine_keeps_it():
    assert outcomes(200, student=COST) == {"overhead_remains": 1.0}


@pytest.mark.parametrize("student", [1.0, 1.0 + 0.25 * (COST - 1)])
@pytest.mark.parametrize("blocks", [3, 8, 30])
def test_noise_neither_passes_nor_refuses(student, blocks):
    found = outcomes(300, student=student, noise=NOISY, blocks=blocks)

    assert found.get("overhead_gone", 0) == 0
    assert found.get("overhead_remains", 0) <= 0.05


@pytest.mark.parametrize("blocks", [3, 8, 30])
def test_noise_does_not_pass_a_slow_student(blocks):
    assert outcomes(300, student=COST, noise=NOISY, blocks=blocks).get("overhead_gone", 0) == 0


@pytest.mark.parametrize("noise", [0.004, 0.01])
@pytest.mark.parametrize("blocks", [5, 16, 40])
def test_student_at_the_margin_passes_less_often_than_the_nominal_level(noise, blocks):
    at_the_margin = math.exp(0.25 * math.log(COST))  # a quarter of the overhead is left

    found = outcomes(600, student=at_the_margin, noise=noise, blocks=blocks)

    # 5 %, give or take three standard errors.
    assert found.get("overhead_gone", 0) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 600)


@pytest.mark.parametrize("noise", [0.004, QUIET])
def test_equal_student_is_refused_less_often_than_the_nominal_level(noise):
    assert outcomes(600, noise=noise, blocks=8).get("overhead_remains", 0) <= 0.05


def test_blocks_added_until_the_noise_is_small_do_not_help_a_slow_student():
    rng, passed, runs = np.random.default_rng(0), 0, 400
    for _ in range(runs):
        whole = cell(rng, student=math.exp(0.25 * math.log(COST)), noise=0.008, blocks=60)
        blocks = 8
        while blocks < 60 and estimate_ratio(whole.a_a_arm[:blocks], 0.95).half_width > 0.005:
            blocks += 1
        arms = ("a_a_arm", "teacher", "student")
        seen = CellLogs(name="stopped", **{arm: getattr(whole, arm)[:blocks] for arm in arms})
        passed += decide_overhead(EQUAL, [seen]).outcome == "overhead_gone"

    assert passed / runs <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)


def test_every_cell_must_hold():
    rng = np.random.default_rng(0)
    good, bad, noisy = (
        cell(rng),
        cell(rng, student=COST),
        cell(rng, noise=NOISY),
    )

    assert decide_overhead(EQUAL, [good, good]).outcome == "overhead_gone"
    assert decide_overhead(EQUAL, [good, noisy]).outcome == "inconclusive"
    assert decide_overhead(EQUAL, [good, bad]).outcome == "overhead_remains"
    assert decide_overhead(EQUAL, [noisy, bad]).outcome == "overhead_remains"


def test_geometric_mean_stands_over_the_cells():
    found = decide_overhead(EQUAL, [exact(teacher=1.10), exact(teacher=1.0)])

    assert found.teacher.value == pytest.approx(math.sqrt(1.1))
    assert found.teacher.low < found.teacher.value < found.teacher.high


@pytest.mark.parametrize(
    ("teacher", "margin"), [(1.0, 0.01), (1.04, 0.01), (1.06, 0.015), (1.08, 0.02), (1.5, 0.02)]
)
def test_margin_is_a_quarter_of_the_cost_within_its_bounds(teacher, margin):
    (found,) = decide_overhead(EQUAL, [exact(teacher=teacher)]).cells

    assert found.margin == pytest.approx(margin, abs=1e-6)


@pytest.mark.parametrize(
    ("student", "outcome"),
    [(1.0, "overhead_gone"), (1.012, "overhead_gone"), (1.018, "overhead_remains")],
)
def test_student_just_inside_and_just_outside_the_margin(student, outcome):
    assert decide_overhead(EQUAL, [exact(student=student)]).outcome == outcome


def test_rig_that_cannot_see_the_adapters_decides_nothing():
    found = decide_overhead(EQUAL, [exact(teacher=0.9999)])

    assert found.outcome == "inconclusive"
    assert not found.cells[0].sensitive
    assert "the adapters' cost is not visible" in found.reasons[0]


def test_rig_whose_same_file_differs_decides_nothing():
    found = decide_overhead(EQUAL, [exact(a_a=1.006)])

    assert found.outcome == "inconclusive"
    assert "biased: the same file measured twice differs by +0.6%" in found.reasons[0]


def test_noise_is_named_with_what_to_do():
    found = decide_overhead(EQUAL, [cell(np.random.default_rng(0), noise=NOISY)])

    assert "too noisy" in found.reasons[0]
    assert "benchmark.seconds_per_cell" in found.reasons[0]


def test_twin_of_the_backbone_that_seems_faster_is_a_wrong_measurement():
    found = decide_overhead(EQUAL, [exact(student=0.95)])

    assert found.outcome == "inconclusive"
    assert "The measurement is at fault" in found.reasons[0]


def test_remaining_overhead_is_told_with_its_numbers():
    (reason,) = decide_overhead(EQUAL, [exact(student=1.07)]).reasons

    assert reason.startswith("batch 1, 16 tokens: the student's time is the plain backbone's +7.0")
    assert "accepted is +1.75%" in reason
    assert "0% (-0% to 0%) of the adapters' cost" in reason or "0% (0% to 0%)" in reason


@pytest.mark.parametrize("student", [0.5, 0.97])
def test_student_of_another_shape_may_be_faster(student):
    found = decide_overhead(SMALLER, [exact(student=student)])

    assert found.outcome == "overhead_gone"
    assert found.claim == "faster than plain"
    assert (found.cells[0].removed, found.cells[0].removed_low) == (1.0, 1.0)


def test_much_faster_student_needs_no_quiet_machine():
    assert outcomes(200, SMALLER, student=0.5, noise=NOISY) == {"overhead_gone": 1.0}


def test_student_of_another_shape_that_is_slower_keeps_the_overhead():
    found = decide_overhead(SMALLER, [exact(student=1.05)])

    assert found.outcome == "overhead_remains"


def test_student_of_another_shape_does_not_pass_by_noise():
    found = outcomes(300, SMALLER, student=1.03, noise=NOISY)

    assert found.get("overhead_gone", 0) <= 0.05


def test_graph_that_is_the_teachers_keeps_the_overhead_whatever_the_clock_says():
    structure = dataclasses.replace(SMALLER, student_is_teacher=True)

    found = decide_overhead(structure, [exact()])

    assert found.outcome == "overhead_remains"
    assert "the adapters are still in it" in found.reasons[0]


def test_traces_of_adapters_keep_the_overhead():
    structure = dataclasses.replace(SMALLER, adapter_traces=("layer.0.adapter.down.weight",))

    found = decide_overhead(structure, [exact()])

    assert found.outcome == "overhead_remains"
    assert "names 1 weights of adapters, such as layer.0.adapter.down.weight" in found.reasons[0]


def test_teacher_without_adapters_decides_nothing():
    structure = dataclasses.replace(EQUAL, teacher_is_plain=True, student_is_teacher=True)

    found = decide_overhead(structure, [exact()])

    assert found.outcome == "inconclusive"
    assert "it has no adapters" in found.reasons[0]


def test_rules_can_be_stricter():
    strict = dataclasses.replace(RULES, max_half_width=1e-6)

    assert decide_overhead(EQUAL, [exact()], strict).outcome == "inconclusive"


def test_clocks_that_tell_no_difference_at_all_still_make_a_record():
    flat = CellLogs(name="flat", a_a_arm=[0.0] * 3, teacher=[0.0] * 3, student=[0.0] * 3)

    found = decide_overhead(EQUAL, [flat])

    adapter = TypeAdapter(Verdict)
    assert found.outcome == "inconclusive"
    assert found.cells[0].removed is None
    assert adapter.validate_json(adapter.dump_json(found)) == found


def test_verdict_that_an_earlier_version_wrote_is_read():
    found = decide_overhead(EQUAL, [exact()])

    adapter = TypeAdapter(Verdict)
    written = adapter.dump_json(found).replace(b"a_a_arm", b"again")
    assert adapter.validate_json(written) == found
