import copy

import pytest
import torch

from models.absorption.token_weights import FLOOR, token_weights
from models.adapters.hooks import insert_adapters, settings_of
from models.adapters.parameter_names import is_adapter_parameter
from models.architectures.table import ARCHITECTURES, architecture_of

MODEL_TYPES = sorted(ARCHITECTURES)


@pytest.fixture
def teacher(tiny_classifier):
    """``teacher(model_type)``: with random adapters after the FFN, all weights frozen."""

    def make(model_type):
        model = copy.deepcopy(tiny_classifier(model_type))
        architecture = architecture_of(model_type)
        insert_adapters(
            model.base_model, architecture, settings_of(kind="pfeiffer", bottleneck_size=4)
        )
        rng = torch.Generator().manual_seed(0)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(False)
            if is_adapter_parameter(name):
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=rng))
        return model.eval()

    return make


@pytest.fixture
def weights_of(tmp_path):
    """``weights_of(model, batch, margins=first_logit)``: weights at every sum of the model."""

    def weights_of(model, batch, margins=first_logit):
        architecture = architecture_of(model.config.model_type)
        found = token_weights(
            model, architecture, [batch], margins, seed=0, scratch=tmp_path / "weights"
        )
        return {site: found.of(0, site) for site in found.means}

    return weights_of


def first_logit(model, batch, _mask):
    return model(**batch).logits[:, :1]


def runs_of(model):
    return model.config.num_hidden_layers


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_every_sum_of_every_architecture_has_weights_of_mean_about_one(
    teacher, weights_of, token_batch, model_type
):
    model = teacher(model_type)
    batch = token_batch(model, (9, 5))
    mask = batch["attention_mask"].bool()

    weights = weights_of(model, batch)

    expected = {(n, p) for n in range(runs_of(model)) for p in ("attention", "ffn")}
    assert set(weights) == expected
    for of in weights.values():
        assert of.shape == mask.shape
        assert of[mask].mean() == pytest.approx(1 + FLOOR, rel=1e-4)


def test_weights_are_norms_of_what_finite_differences_give(teacher, weights_of, token_batch):
    """Every unit of every token's sum after attention is moved a little, one by one."""
    model = teacher("bert")
    architecture = architecture_of("bert")
    batch = token_batch(model, (6,))
    weights = weights_of(model, batch)
    norm = architecture.norm_after(architecture.layers(model.base_model)[0], "attention")
    precise = model.double()

    def logit(token, unit, step):
        def move(_, arguments):
            moved = arguments[0].clone()
            moved[0, token, unit] += step
            return (moved,)

        hook = norm.register_forward_pre_hook(move)
        with torch.inference_mode():
            value = precise(**batch).logits[0, 0].item()
        hook.remove()
        return value

    gradients = torch.tensor(
        [
            [(logit(token, unit, 1e-4) - logit(token, unit, -1e-4)) / 2e-4 for unit in range(32)]
            for token in range(6)
        ]
    )
    expected = gradients.norm(dim=-1) / gradients.norm(dim=-1).mean() + FLOOR
    assert torch.allclose(weights[0, "attention"][0], expected, atol=1e-3)


def test_tokens_that_no_answer_feels_keep_the_floor(teacher, weights_of, token_batch):
    """At BERT's last layer the head reads the first token alone."""
    model = teacher("bert")
    batch = token_batch(model, (6, 4))

    weights = weights_of(model, batch)

    last = weights[runs_of(model) - 1, "ffn"]
    assert torch.allclose(last[:, 1:], torch.tensor(FLOOR))
    assert (last[:, 0] > 1).all()


def test_teacher_is_left_as_it_was(teacher, weights_of, token_batch):
    model = teacher("bert")
    before = copy.deepcopy(model.state_dict())

    weights_of(model, token_batch(model, (6,)))

    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model.get_input_embeddings()._forward_hooks


def test_answers_that_nothing_moves_weigh_nothing(teacher, weights_of, token_batch):
    model = teacher("bert")

    def constant(model, batch, _mask):
        return 0 * model(**batch).logits

    assert weights_of(model, token_batch(model, (6,)), constant) == {}
