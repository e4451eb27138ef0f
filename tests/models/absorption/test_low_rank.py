import pytest
import torch

from models.absorption.low_rank import reduce_rank
from models.absorption.ridge import Gram


def problem(*, bias=True, outputs=6, inputs=20):
    """A change of full rank, and the Gram matrix of inputs of unlike spread and mean."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(500, inputs, generator=rng) * torch.linspace(0.1, 3, inputs) + 1
    gram = Gram(bias=bias)
    gram.add(x, torch.zeros(500, outputs))
    change = torch.randn(inputs + 1, outputs, generator=rng, dtype=torch.float64)
    if not bias:
        change[-1] = 0
    return x.double(), change, gram.sums().xx


def outputs_of(x, change):
    return x @ change[:-1] + change[-1]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rank", [1, 3])
def test_reduced_change_is_the_closest_of_its_rank_on_the_inputs(rank, bias):
    """The closest one is the truncated decomposition of the outputs, around their mean."""
    x, change, xx = problem(bias=bias)
    wanted = outputs_of(x, change)
    mean = wanted.mean(dim=0) if bias else torch.zeros(wanted.shape[1])
    left, strength, right = torch.linalg.svd(wanted - mean, full_matrices=False)
    closest = left[:, :rank] * strength[:rank] @ right[:rank] + mean

    reduced = reduce_rank(change, xx, rank)

    assert torch.linalg.matrix_rank(reduced[:-1]) == rank
    assert torch.allclose(outputs_of(x, reduced), closest, atol=1e-3)


def test_change_of_a_low_rank_stays_what_it_is():
    _, change, xx = problem()
    change[:-1, 2:] = change[:-1, :2] @ torch.ones(2, 4, dtype=torch.float64)

    assert torch.allclose(reduce_rank(change, xx, 2), change, atol=1e-5)
