import pytest
import torch

from models.adapters.composition import Fuse, Weighted
from models.adapters.drop import drop_adapters, drop_randomly
from models.adapters.hooks import adapter_sites, add_adapter, add_fusion, set_active, settings_of
from models.adapters.parameter_names import is_adapter_parameter
from models.architectures.table import architecture_of
from models.teacher import freeze_backbone

STEPS = 40


@pytest.fixture
def teacher(tiny_classifier):
    """A classifier of three layers with the random adapters a and b; a is active."""
    model = tiny_classifier("bert", num_hidden_layers=3)
    generator = torch.Generator().manual_seed(0)
    for name in ("a", "b"):
        settings = settings_of("houlsby", bottleneck_size=4)
        add_adapter(model.bert, architecture_of("bert"), name, settings)
    set_active(model.bert, "a")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if is_adapter_parameter(name):
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    freeze_backbone(model)
    return model


@torch.no_grad()
def logits_of(model, batch):
    return model(**batch).logits


def test_dropped_adapters_are_as_good_as_none(teacher, tiny_classifier, token_batch):
    batch = token_batch(teacher, (9, 5))
    before = logits_of(teacher, batch)

    drop_adapters(teacher.bert, architecture_of("bert"), 2)

    dropped = logits_of(teacher, batch)
    with torch.no_grad():
        for name, parameter in teacher.named_parameters():
            if is_adapter_parameter(name):
                parameter.zero_()
    plain = tiny_classifier("bert", num_hidden_layers=3)
    assert not torch.equal(dropped, before)
    assert not torch.equal(dropped, logits_of(plain, batch))
    assert torch.equal(logits_of(teacher, batch), logits_of(plain, batch))


def test_nothing_below_the_first_adapter_needs_a_gradient(teacher, token_batch):
    drop_adapters(teacher.bert, architecture_of("bert"), 2)

    hidden = teacher(**token_batch(teacher, (9, 5)), output_hidden_states=True).hidden_states

    assert [states.requires_grad for states in hidden] == [False, False, False, True]


@pytest.mark.parametrize("composition", [Fuse(("a", "b")), Weighted(("a", "b"))])
def test_compositions_are_dropped_with_their_adapters(teacher, token_batch, composition):
    add_fusion(teacher.bert, composition)
    set_active(teacher.bert, composition)

    drop_adapters(teacher.bert, architecture_of("bert"), 1)

    names = [name for name, _ in teacher.named_parameters() if is_adapter_parameter(name)]
    assert not any(".layer.0." in name for name in names)
    assert logits_of(teacher, token_batch(teacher, (9, 5))).isfinite().all()


def test_each_training_step_drops_a_number_of_lower_layers(teacher, token_batch):
    batch = token_batch(teacher, (3,))
    torch.manual_seed(0)
    seen = set()

    with drop_randomly(teacher.bert, architecture_of("bert"), 2):
        teacher.train()
        for _ in range(STEPS):
            teacher(**batch)
            seen.add(tuple(site.is_dropped for site in adapter_sites(teacher)))

    # Two sites a layer, in forward order: none, the first layer's, or the first two layers'.
    assert seen == {(False,) * 6, (True,) * 2 + (False,) * 4, (True,) * 4 + (False,) * 2}


def test_evaluation_drops_nothing(teacher, token_batch):
    batch = token_batch(teacher, (9, 5))
    before = logits_of(teacher, batch)

    with drop_randomly(teacher.bert, architecture_of("bert"), 2):
        teacher.train()
        for _ in range(STEPS):
            teacher(**batch)
        teacher.eval()

        assert torch.equal(logits_of(teacher, batch), before)


@pytest.mark.parametrize(
    ("model_type", "layers", "message"),
    [("bert", 2, "at most 1 can be dropped, found 2"), ("albert", 1, "all of them or none")],
)
def test_dropping_all_is_refused(tiny_classifier, model_type, layers, message):
    model = tiny_classifier(model_type)

    with pytest.raises(ValueError, match=message):
        drop_adapters(model.base_model, architecture_of(model_type), layers)
    with (
        pytest.raises(ValueError, match=message),
        drop_randomly(model.base_model, architecture_of(model_type), layers),
    ):
        pass
