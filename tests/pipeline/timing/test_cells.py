import math

import numpy as np
import pytest

from pipeline.config import BenchmarkConfig
from pipeline.timing.blocks import Block, mean_call
from pipeline.timing.cells import MeasuredCell, is_enough

CONFIG = BenchmarkConfig(min_blocks=8, max_blocks=20, seconds_per_cell=60, target_half_width=0.005)


def cell_of(*ratios, base=1000, calls=1):
    """Return a cell in which the student takes these multiples of plain's time, a block each."""
    blocks = tuple(
        Block(
            cpu_ns={"plain": [base] * 3 * calls, "student": [round(base * ratio)] * 3 * calls},
            wall_ns={"plain": [2_000_000], "student": [1_000_000]},
        )
        for ratio in ratios
    )
    return MeasuredCell(batch=1, length=16, calls=calls, seconds=1.0, blocks=blocks)


def test_log_ratios_are_one_a_block():
    logs = cell_of(1.0, math.e, math.e**2, base=10**9).log_ratios("student", "plain")

    assert logs == pytest.approx([0, 1, 2])


def test_one_slow_call_of_a_block_does_not_count():
    assert mean_call([20, 20, 9000], calls=1) == 20


def test_mean_is_over_calls_and_median_over_rounds():
    # Two calls, three rounds: medians 10 and 30.
    assert mean_call([10, 30, 10, 30, 900, 31], calls=2) == 20


def test_machine_does_not_matter_where_both_arms_feel_it():
    quiet, busy = cell_of(1.5, base=1000), cell_of(1.5, base=8000)

    assert quiet.log_ratios("student", "plain") == busy.log_ratios("student", "plain")


def test_wall_times_are_in_milliseconds():
    assert cell_of(1.0, 1.0).wall_ms("plain") == pytest.approx(np.array([2.0, 2.0]))


@pytest.mark.parametrize(
    ("blocks", "half_width", "seconds", "enough"),
    [
        (8, 0.005, 1, True),
        (8, 0.0051, 1, False),
        (7, 0.001, 1, False),  # a narrow interval of few blocks may be chance
        (20, 0.5, 1, True),
        (3, 0.5, 61, True),
        (2, 0.5, 61, False),
        (3, 0.5, 60, False),
    ],
)
def test_blocks_are_added_until_it_is_quiet_or_time_is_up(blocks, half_width, seconds, enough):
    assert is_enough(blocks, half_width, seconds, CONFIG) is enough
