import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models.adapters.composition import (
    Average,
    Fuse,
    Fusion,
    FusionSettings,
    Stack,
    Weighted,
    distance_from_identity,
    module_name,
    names_in,
)
from models.adapters.hooks import add_adapter, add_fusion, set_active, settings_of
from models.architectures.table import architecture_of


@pytest.fixture
def two_adapters(tiny_classifier):
    """A classifier with the random adapters a and b, both off."""
    model = tiny_classifier("bert")
    generator = torch.Generator().manual_seed(0)
    for name in ("a", "b"):
        settings = settings_of("houlsby", bottleneck_size=4)
        add_adapter(model.base_model, architecture_of("bert"), name, settings)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".adapter." in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.fixture
def logits_of(token_batch):
    @torch.no_grad()
    def logits_of(model, composition):
        set_active(model, composition)
        return model(**token_batch(model, (9, 5, 7))).logits

    return logits_of


@torch.no_grad()
def site_values(model, composition):
    """Return what a site makes of h and x, and what each adapter makes of them alone."""
    site = model.bert.encoder.layer[0].output.dense.adapter
    h, x = torch.randn(2, 2, 5, 32, generator=torch.Generator().manual_seed(1))
    set_active(model, composition)
    found = site(h, x)
    change = {name: adapter.change for name, adapter in site.adapters.items()}
    return h, found, change, site


def test_switched_off_adapters_change_no_bit(tiny_classifier, two_adapters, logits_of, token_batch):
    plain = tiny_classifier("bert")

    with torch.no_grad():
        expected = plain(**token_batch(plain, (9, 5, 7))).logits

    assert not torch.equal(logits_of(two_adapters, "a"), expected)
    assert torch.equal(logits_of(two_adapters, None), expected)


def test_switching_gives_each_adapters_own_logits_and_copies_nothing(two_adapters, logits_of):
    pointers = {name: p.data_ptr() for name, p in two_adapters.named_parameters()}
    first, second = logits_of(two_adapters, "a"), logits_of(two_adapters, "b")

    assert not torch.equal(first, second)
    assert torch.equal(logits_of(two_adapters, "a"), first)
    assert {name: p.data_ptr() for name, p in two_adapters.named_parameters()} == pointers


def test_stack_applies_its_children_in_order(two_adapters):
    h, found, change, _ = site_values(two_adapters, Stack(("a", "b")))

    with torch.no_grad():
        after_a = h + change["a"](h)
        torch.testing.assert_close(found, after_a + change["b"](after_a))


@pytest.mark.parametrize("weights", [(), (0.25, 0.75)])
def test_average_is_the_weighted_mean(two_adapters, weights):
    h, found, change, _ = site_values(two_adapters, Average(("a", "b"), weights))

    first, second = weights or (0.5, 0.5)
    with torch.no_grad():
        torch.testing.assert_close(found, h + first * change["a"](h) + second * change["b"](h))


def test_learned_weights_start_equal_and_learn(two_adapters, logits_of):
    composition = Weighted(("a", "b"))
    add_fusion(two_adapters, composition)

    found = logits_of(two_adapters, composition)
    two_adapters(input_ids=torch.tensor([[5, 6, 7]])).logits.sum().backward()

    torch.testing.assert_close(found, logits_of(two_adapters, Average(("a", "b"))))
    site = two_adapters.bert.encoder.layer[0].output.dense.adapter
    assert site.weights["a,b"].logits.grad.abs().sum() > 0


def test_compositions_nest(two_adapters):
    h, found, change, _ = site_values(two_adapters, Stack(("a", Average(("a", "b")))))

    with torch.no_grad():
        after = h + change["a"](h)
        expected = after + (change["a"](after) + change["b"](after)) / 2
        torch.testing.assert_close(found, expected)


@torch.no_grad()
def test_fusion_by_formula(two_adapters):
    composition = Fuse(("a", "b"))
    add_fusion(two_adapters, composition)
    fusion = two_adapters.bert.encoder.layer[0].output.dense.adapter.fusions["a,b"]
    for parameter in fusion.parameters():
        nn.init.normal_(parameter, std=0.3)

    h, found, change, _ = site_values(two_adapters, composition)

    changes = torch.stack([change["a"](h), change["b"](h)], dim=-2)  # (B, T, N, D)
    query = F.linear(h, fusion.query.weight, fusion.query.bias)
    keys = F.linear(changes, fusion.key.weight, fusion.key.bias)
    weights = torch.einsum("btd,btnd->btn", query, keys).softmax(dim=-1)
    values = changes @ fusion.value.weight.T
    torch.testing.assert_close(found, h + torch.einsum("btn,btnd->btd", weights, values))


def test_new_fusions_value_projection_is_the_identity():
    fusion = Fusion(8, FusionSettings())

    assert torch.equal(fusion.value.weight, torch.eye(8))


@torch.no_grad()
def test_distance_of_values_from_the_identity_is_summed_over_layers(two_adapters):
    add_fusion(two_adapters, Fuse(("a", "b")))
    values = [m.value for m in two_adapters.modules() if isinstance(m, Fusion)]
    at_first = float(distance_from_identity(two_adapters))
    values[0].weight.mul_(2)
    values[1].weight.mul_(3)

    # ||I - 2 I||² = D = 32; ||I - 3 I||² = 4 D.
    assert len(values) == 4
    assert at_first == 0
    assert float(distance_from_identity(two_adapters)) == 32 + 4 * 32


def test_models_without_fusion_have_no_distance(two_adapters):
    assert float(distance_from_identity(two_adapters)) == 0


@torch.no_grad()
def test_fusion_without_projections_weighs_by_the_changes_themselves():
    fusion = Fusion(8, FusionSettings(query=False, key=False, value=False))
    h, changes = torch.randn(2, 3, 8), torch.randn(2, 3, 4, 8)

    found = fusion(h, h, changes, torch.zeros_like(h))

    weights = torch.einsum("btd,btnd->btn", h, changes).softmax(dim=-1)
    assert list(fusion.parameters()) == []
    torch.testing.assert_close(found, torch.einsum("btn,btnd->btd", weights, changes))


def test_names_and_module_name():
    composition = Stack(("a", Average(("b", Fuse(("a", "c"))))))

    assert list(names_in(composition)) == ["a", "b", "c"]
    assert module_name(Fuse(("a", "c"))) == "a,c"


@pytest.mark.parametrize(
    ("composition", "message"),
    [
        ("c", "no adapters named c; it has a, b"),
        (Stack(("a", "c")), "no adapters named c"),
        (Fuse(("a", "b")), "no parameters for the composition of a,b"),
        (Weighted(("a", "b")), "no parameters for the composition of a,b"),
    ],
)
def test_what_the_backbone_does_not_have_cannot_be_activated(two_adapters, composition, message):
    with pytest.raises(ValueError, match=message):
        set_active(two_adapters, composition)


@pytest.mark.parametrize(("name", "message"), [("a", "already has"), ("x.y", "without dots")])
def test_name_that_is_taken_or_unusable_is_refused(two_adapters, name, message):
    with pytest.raises(ValueError, match=message):
        add_adapter(
            two_adapters.base_model,
            architecture_of("bert"),
            name,
            settings_of("houlsby", bottleneck_size=4),
        )
