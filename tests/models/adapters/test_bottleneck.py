import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models.adapters.bottleneck import BottleneckAdapter, BottleneckSettings, KroneckerLinear

# x of two units, one bottleneck unit: down(x) = 1*1 + 2*1 - 5 = -2 before the activation.
X = torch.tensor([[[1.0, 2.0]]])


def new_adapter(hidden_size, bottleneck_size, *, initialisation="zero_up", **settings):
    form = BottleneckSettings(
        **{"bottleneck_size": bottleneck_size, "activation": "gelu"} | settings
    )
    return BottleneckAdapter(hidden_size, form, initialisation=initialisation)


def tiny_adapter(down_bias=-5.0, **settings):
    adapter = new_adapter(2, 1, **settings).eval()
    with torch.no_grad():
        adapter.down.weight.fill_(1.0)
        adapter.down.bias.fill_(down_bias)
        adapter.up.weight.copy_(torch.tensor([[3.0], [-1.0]]))
        adapter.up.bias.copy_(torch.tensor([0.5, 0.25]))
    return adapter


def random_adapter(**settings):
    torch.manual_seed(0)
    adapter = new_adapter(8, 4, **settings).eval()
    for parameter in adapter.parameters():
        nn.init.normal_(parameter)
    return adapter


def some(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_adapter_value_by_hand():
    adapter = tiny_adapter(down_bias=-2.0, activation="relu", scaling=2.0)

    # down: 1 + 2 - 2 = 1, relu: 1, up: (3, -1) + (0.5, 0.25), times 2, plus x = (1, 2).
    torch.testing.assert_close(adapter(X, X), torch.tensor([[[8.0, 0.5]]]))


@pytest.mark.parametrize(
    ("activation", "value"),
    # At -2: gelu is -2 * Phi(-2) = -2 * 0.0227501, silu is -2 / (1 + e^2) = -2 * 0.1192029.
    [
        ("relu", 0.0),
        ("gelu", -0.0455003),
        ("silu", -0.2384058),
        ("swish", -0.2384058),
        ("linear", -2.0),
        ("leakyrelu", -0.02),
        ("tanh", -0.9640276),
    ],
)
def test_activation_by_hand(activation, value):
    adapter = tiny_adapter(activation=activation)

    expected = torch.tensor([[[3 * value + 0.5, -value + 0.25]]])
    torch.testing.assert_close(adapter.change(X), expected, atol=1e-6, rtol=0)


def test_scaling_multiplies_the_change_alone():
    once, thrice = tiny_adapter(scaling=1.0), tiny_adapter(scaling=3.0)

    torch.testing.assert_close(thrice(X, X) - X, 3 * (once(X, X) - X))


@pytest.mark.parametrize(("scaling", "size"), [("learned", 1), ("channel", 2)])
def test_learned_scaling_is_a_parameter_that_starts_at_one(scaling, size):
    adapter, fixed = tiny_adapter(scaling=scaling), tiny_adapter()

    assert adapter.scaling.shape == (size,)
    torch.testing.assert_close(adapter(X, X), fixed(X, X))
    with torch.no_grad():
        adapter.scaling.fill_(2.0)
    torch.testing.assert_close(adapter.change(X), 2 * fixed.change(X))


def test_change_is_added_to_the_residual():
    adapter = tiny_adapter()

    torch.testing.assert_close(adapter(X, 7 * X), adapter.change(X) + 7 * X)


def test_dropout_acts_on_the_bottleneck_while_training_only():
    adapter = tiny_adapter(down_bias=0.0, dropout=0.999)
    in_eval_mode = adapter(X, X)
    torch.manual_seed(0)

    dropped = adapter.train()(X, X)

    torch.testing.assert_close(dropped, X + torch.tensor([0.5, 0.25]))
    assert not torch.allclose(in_eval_mode, dropped)


def test_small_initialisation_has_std_near_a_hundredth():
    torch.manual_seed(0)

    adapter = new_adapter(256, 64, initialisation="small")

    for projection in (adapter.down, adapter.up):
        # A normal that is cut at two std has 0.8796 of its std; 16384 draws are within 1 %.
        assert projection.weight.std().item() == pytest.approx(0.0088, rel=0.03)
        assert projection.weight.abs().max() <= 0.02
        assert not projection.bias.any()


def test_zero_up_draws_its_down_projection():
    torch.manual_seed(0)

    adapter = new_adapter(32, 4)

    assert not adapter.up.weight.any()
    assert adapter.down.weight.std() > 0.05


@pytest.mark.parametrize(
    "settings", [{}, {"gate": True}, {"scaling": "channel"}, {"kronecker_factors": 4}]
)
def test_new_adapter_changes_nothing(settings):
    rule = nn.Parameter(some(4, 4, 4)) if "kronecker_factors" in settings else None
    form = BottleneckSettings(bottleneck_size=4, **settings)
    x, residual = some(2, 3, 8), some(2, 3, 8, seed=2)

    assert torch.equal(BottleneckAdapter(8, form, rule=rule)(x, residual), residual)


def test_norm_before_is_what_the_projection_sees():
    adapter = random_adapter(norm_before=True)
    x = some(2, 3, 8)
    norm = adapter.norm_before
    seen = F.layer_norm(x, (8,), norm.weight, norm.bias)

    torch.testing.assert_close(adapter.change(x), adapter.up(F.gelu(adapter.down(seen))))


@pytest.mark.parametrize("with_residual", [False, True])
def test_norm_after_sees_the_change_with_or_without_the_residual(with_residual):
    adapter = random_adapter(norm_after=True, residual_before_norm=with_residual)
    x, residual = some(2, 3, 8), some(2, 3, 8, seed=2)
    change = adapter.change(x)

    expected = (
        adapter.norm_after(change + residual)
        if with_residual
        else adapter.norm_after(change) + residual
    )
    torch.testing.assert_close(adapter(x, residual), expected)


def test_gate_is_the_mean_sigmoid_over_the_tokens():
    adapter = random_adapter(gate=True)
    x = some(2, 3, 8)
    gate = torch.sigmoid(F.linear(x, adapter.gate.weight, adapter.gate.bias)).mean(dim=1)  # (2, 1)

    found = adapter(x, torch.zeros_like(x))

    torch.testing.assert_close(found, gate[:, None] * adapter.change(x))


def test_kronecker_matrix_is_the_sum_of_kronecker_products():
    layer = KroneckerLinear(8, 4, factors=2, rank=3)
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    rule, x = some(2, 2, 2), some(5, 8)
    matrix = sum(torch.kron(rule[p], layer.left[p] @ layer.right[p]) for p in range(2))

    torch.testing.assert_close(layer(x, rule), x @ matrix + layer.bias)


def test_sizes_that_the_factors_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="4 Kronecker factors divide, found 8 inputs and 6"):
        KroneckerLinear(8, 6, factors=4, rank=1)
