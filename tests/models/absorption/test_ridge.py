import pytest
import torch

from models.absorption.ridge import (
    FIRST_STRENGTH,
    Gram,
    device_of_sums,
    solve,
    whole_products,
)


def tokens(count, *, seed, inputs=20, outputs=6):
    """Inputs, a dense layer (bias in the last row), and noisy outputs of another one."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(count, inputs, generator=rng)
    weights = torch.Generator().manual_seed(99)
    dense, wanted = (
        torch.randn(inputs + 1, outputs, generator=weights, dtype=torch.float64) for _ in range(2)
    )
    noise = 0.01 * torch.randn(count, outputs, generator=rng)
    return x, dense, apply(wanted, x) + noise, wanted


def apply(dense, x):
    return (x.double() @ dense[:-1] + dense[-1]).float()


def gram_of(x, y, rows=64):
    gram = Gram()
    for some_x, some_y in zip(x.split(rows), y.split(rows), strict=True):
        gram.add(some_x, some_y)
    return gram


def test_sums_are_those_of_what_the_dense_layer_leaves_missing():
    x, dense, y, _ = tokens(300, seed=0)
    ones = torch.cat([x, torch.ones(300, 1)], dim=1).double()
    missing = (y - apply(dense, x)).double()

    sums = gram_of(x, y).sums(dense)

    assert torch.allclose(sums.xx, ones.T @ ones, rtol=1e-5, atol=1e-3)
    assert torch.allclose(sums.xe, ones.T @ missing, rtol=1e-4, atol=1e-2)
    assert sums.ee == pytest.approx(float(missing.square().sum()), rel=1e-5)


def test_more_rows_than_one_block_make_the_same_gram_matrix():
    x = torch.randn(700, 600, generator=torch.Generator().manual_seed(0))
    ones = torch.cat([x, torch.ones(700, 1)], dim=1).double()

    sums = gram_of(x, x[:, :3]).sums()

    assert torch.allclose(sums.xx, ones.T @ ones, rtol=1e-4, atol=1e-2)


def test_nothing_is_missing_where_only_rounding_is():
    x, dense, _, _ = tokens(300, seed=0)

    assert gram_of(x, apply(dense, x)).sums(dense).ee == 0
    assert gram_of(x, 1.001 * apply(dense, x)).sums(dense).ee > 0


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
@pytest.mark.parametrize("side", [0, 1])
def test_values_that_are_not_finite_are_seen(side, broken):
    x, _, y, _ = tokens(30, seed=0)
    assert gram_of(x, y).finite

    (x, y)[side][3, 2] = broken

    assert not gram_of(x, y).finite


def test_solution_brings_the_dense_layer_to_what_is_wanted():
    x, dense, y, wanted = tokens(3000, seed=0)
    unseen_x, _, unseen_y, _ = tokens(500, seed=1)

    solution = solve(
        gram_of(x, y).sums(dense), gram_of(unseen_x, unseen_y).sums(dense), first=FIRST_STRENGTH
    )

    assert torch.allclose(dense + solution.change, wanted, atol=1e-2)
    assert solution.r2 == pytest.approx(1.0, abs=1e-3)


def test_chance_is_not_taken_for_an_explanation():
    rng = torch.Generator().manual_seed(0)
    fit, held_out = (
        gram_of(torch.randn(100, 50, generator=rng), torch.randn(100, 6, generator=rng)).sums()
        for _ in range(2)
    )

    assert solve(fit, held_out, first=FIRST_STRENGTH) is None


def test_products_have_all_bits_whatever_precision_is_set():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with whole_products():
            within = torch.get_float32_matmul_precision()
        after = torch.get_float32_matmul_precision()
    finally:
        torch.set_float32_matmul_precision(before)

    assert (within, after) == ("highest", "medium")


def test_sums_are_where_their_inputs_are():
    gram = Gram()
    gram.add(torch.randn(4, 3), torch.randn(4, 2))

    assert gram.upper.device == device_of_sums(gram.xy) == torch.device("cpu")
    assert gram.upper.dtype == gram.xy.dtype == torch.float64
