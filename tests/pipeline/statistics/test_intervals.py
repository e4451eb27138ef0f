import math

import numpy as np
import pytest
from scipy import stats

from pipeline.statistics.intervals import (
    estimate_change,
    estimate_mean,
    estimate_ratio,
    estimate_removed,
)


def numbers(estimate):
    return estimate.value, estimate.low, estimate.high


def test_equal_ratios_have_no_spread():
    assert numbers(estimate_ratio(np.log([2, 2, 2]), 0.95)) == pytest.approx((2, 2, 2))


def test_ratio_interval_by_hand():
    # Log-ratios 0, 1, 2: mean 1, standard error 1 / sqrt(3); Student's t at 0.975, 2 degrees of
    # freedom, is 4.302653.
    half = 4.302653 / math.sqrt(3)

    found = numbers(estimate_ratio([0, 1, 2], 0.95))

    assert found == pytest.approx((math.e, math.exp(1 - half), math.exp(1 + half)), rel=1e-5)


def test_interval_widens_with_the_confidence():
    logs = np.log([1.0, 1.1, 1.2])

    narrow, wide = estimate_ratio(logs, 0.9), estimate_ratio(logs, 0.99)

    assert wide.low < narrow.low < narrow.high < wide.high
    assert narrow.half_width == pytest.approx((narrow.high - narrow.low) / 2)


def test_ratio_is_one_over_the_other_way_round():
    logs = np.log([1.5, 1.25, 1.75])

    forth, back = estimate_ratio(logs, 0.95), estimate_ratio(-logs, 0.95)

    assert numbers(back) == pytest.approx(numbers(forth.inverse()))


def test_mean_of_one_sample_is_its_own_estimate():
    logs = [0.1, 0.12, 0.07]

    assert numbers(estimate_mean([logs], 0.95)) == pytest.approx(
        numbers(estimate_ratio(logs, 0.95))
    )


def test_change_is_welchs_test():
    new, old = [0.1, 0.12, 0.07, 0.2], [0.0, 0.3, 0.1]

    found = estimate_change(new, old, 0.95)

    welch = stats.ttest_ind(new, old, equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((math.exp(welch.low), math.exp(welch.high)))


def test_removed_part_of_an_exact_fraction_has_no_spread():
    whole = np.array([0.05, 0.08, 0.06, 0.07])

    assert estimate_removed(0.2 * whole, whole, 0.95) == pytest.approx((0.8, 0.8, 0.8))


def test_removed_part_of_what_may_be_nothing_has_no_ends():
    _, low, high = estimate_removed([0.01, 0.0, 0.01], [0.01, -0.01, 0.005], 0.95)

    assert (low, high) == (-math.inf, math.inf)


def test_removed_part_of_nothing_is_no_number():
    assert math.isnan(estimate_removed([0.0, 0.0], [0.0, 0.0], 0.95)[0])


# Each block's log-ratios share the plain arm's noise, as real ones do.
def draw_blocks(rng, samples, blocks, *means, noise):
    own = rng.normal(0, noise, (samples, blocks, len(means) + 1))
    return [mean + own[..., arm + 1] - own[..., 0] for arm, mean in enumerate(means)]


@pytest.mark.parametrize("blocks", [5, 24])
def test_intervals_hold_the_truth_as_often_as_they_say(blocks):
    rng, truth = np.random.default_rng(0), (math.log(1.01), math.log(1.06))
    student, teacher = draw_blocks(rng, 2000, blocks, *truth, noise=0.008)

    covered, removed = [], []
    for part, whole in zip(student, teacher, strict=True):
        found = estimate_ratio(part, 0.95)
        covered.append(found.low <= 1.01 <= found.high)
        _, low, high = estimate_removed(part, whole, 0.95)
        removed.append(low <= 1 - truth[0] / truth[1] <= high)

    # 95 %, give or take three standard errors of 0.5 %.
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)
    assert np.mean(removed) == pytest.approx(0.95, abs=0.015)


def test_mean_of_cells_and_change_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(1)
    (few,), (many,) = (
        draw_blocks(rng, 2000, blocks, 0.05, noise=noise)
        for blocks, noise in ((6, 0.02), (20, 0.005))
    )

    means, changes = [], []
    for one, other in zip(few, many, strict=True):
        mean, change = estimate_mean([one, other], 0.95), estimate_change(one, other, 0.95)
        means.append(mean.low <= math.exp(0.05) <= mean.high)
        changes.append(change.low <= 1 <= change.high)

    assert np.mean(means) == pytest.approx(0.95, abs=0.015)
    assert np.mean(changes) == pytest.approx(0.95, abs=0.015)
