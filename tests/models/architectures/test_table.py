import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForQuestionAnswering,
    AutoModelForTokenClassification,
    BatchEncoding,
)
from transformers.activations import ACT2FN

from models.architectures.dense import weight_of
from models.architectures.table import ARCHITECTURES, UnknownArchitectureError, architecture_of
from models.losses import SPAN_OBJECTIVE


def test_unknown_architecture_error_names_the_known_ones():
    with pytest.raises(UnknownArchitectureError, match="'t5'") as caught:
        architecture_of("t5")

    assert all(name in str(caught.value) for name in ARCHITECTURES)


@pytest.mark.parametrize("model_type", sorted(ARCHITECTURES))
def test_every_site_of_the_table_exists_in_every_layer(tiny_classifier, model_type):
    backbone = tiny_classifier(model_type).base_model
    architecture = architecture_of(model_type)

    layers = architecture.layers(backbone)

    assert len(layers) == (1 if architecture.shared_layers else 2)
    assert architecture.hidden_size(backbone) == 32
    assert architecture.ffn_size(backbone) == 64
    assert getattr(backbone.config, architecture.ffn_size_setting) == 64
    assert getattr(backbone.config, architecture.activation_setting) in ACT2FN
    for number, layer in enumerate(layers):
        shapes = {
            path: weight_of(layer.get_submodule(path)).shape
            for path in (
                architecture.attention_output,
                architecture.ffn_input,
                architecture.ffn_output,
            )
        }
        assert shapes[architecture.attention_output] == (32, 32)
        doubled = 2 if model_type == "modernbert" else 1  # units and gates in one layer
        assert shapes[architecture.ffn_input] == (64 * doubled, 32)
        assert shapes[architecture.ffn_output] == (32, 64)
        for path in (architecture.attention_norm, architecture.ffn_norm):
            if (number, path) != (0, "attn_norm"):
                assert layer.get_submodule(path).weight.shape == (32,)


@pytest.mark.parametrize("model_type", sorted(ARCHITECTURES))
@torch.no_grad()
def test_layer_is_attention_then_the_ffn_half(tiny_classifier, token_batch, model_type):
    model = tiny_classifier(model_type)
    architecture = architecture_of(model_type)
    layer = architecture.layers(model.base_model)[-1]
    sums, results = [], []
    architecture.norm_of_middle(layer).register_forward_hook(
        lambda _, arguments, output: sums.append(
            arguments[0] if architecture.norm_first else output
        )
    )
    layer.register_forward_hook(lambda *given: results.append(given[-1]))

    model(**token_batch(model, (9, 9)))

    result = results[-1][0] if isinstance(results[-1], tuple) else results[-1]
    torch.testing.assert_close(architecture.ffn_half(layer, sums[-1]), result)


def test_layer_list_of_another_model_is_refused(tiny_classifier):
    backbone = tiny_classifier("bert").base_model
    distilbert = architecture_of("distilbert")

    with pytest.raises(AttributeError, match="transformer"):
        distilbert.layers(backbone)


@pytest.mark.parametrize("model_type", sorted(ARCHITECTURES))
def test_head_makes_the_models_own_logits_of_its_hidden_states(
    tiny_classifier, token_batch, model_type
):
    model = tiny_classifier(model_type)
    batch = token_batch(model, (5, 9))

    with torch.no_grad():
        hidden = model.base_model(**batch).last_hidden_state
        expected = model(**batch).logits
        head = architecture_of(model_type).sequence_head
        looked_at = head.pooling(model, hidden, batch)
        found = head.apply(model, looked_at)

    assert looked_at.shape == (2, 1, 32)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("model_type", sorted(ARCHITECTURES))
@torch.no_grad()
def test_token_head_makes_the_models_own_logits_of_every_token(
    tiny_classifier, token_batch, model_type
):
    config = tiny_classifier(model_type).config
    model = AutoModelForTokenClassification.from_config(config).eval()
    batch = token_batch(model, (5, 9))
    head = architecture_of(model_type).token_head
    hidden = model.base_model(**batch).last_hidden_state

    found = head.apply(model, head.pooling(model, hidden, batch))

    assert found.shape == (2, 9, 3)
    torch.testing.assert_close(found, model(**batch).logits)
    assert model.get_submodule(head.last).out_features == 3
    assert torch.equal(head.counting(batch["attention_mask"]), batch["attention_mask"].bool())


@pytest.mark.parametrize("model_type", sorted(ARCHITECTURES))
@torch.no_grad()
def test_span_head_makes_the_models_own_logits_of_every_token(
    tiny_classifier, token_batch, model_type
):
    config = tiny_classifier(model_type, num_labels=2).config
    model = AutoModelForQuestionAnswering.from_config(config).eval()
    batch = token_batch(model, (5, 9))
    head = architecture_of(model_type).span_head
    hidden = model.base_model(**batch).last_hidden_state

    found = head.apply(model, head.pooling(model, hidden, batch))

    torch.testing.assert_close(found, SPAN_OBJECTIVE.outputs_in(model(**batch)))
    assert model.get_submodule(head.last).out_features == 2


@pytest.mark.parametrize("model_type", sorted(ARCHITECTURES))
@torch.no_grad()
def test_tokens_that_do_not_count_do_not_reach_the_head(tiny_classifier, token_batch, model_type):
    model = tiny_classifier(model_type)
    batch = token_batch(model, (5, 9))
    head = architecture_of(model_type).sequence_head
    hidden = model.base_model(**batch).last_hidden_state
    counts = head.counting(batch["attention_mask"])
    changed = torch.where(counts[..., None], hidden, torch.full_like(hidden, 7.0))

    found = head.apply(model, head.pooling(model, changed, batch))

    assert counts.any(dim=1).all()
    assert not (counts & ~batch["attention_mask"].bool()).any()
    torch.testing.assert_close(found, model(**batch).logits)


@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_head_of_a_decoder_looks_at_the_last_real_token(tiny_classifier, token_batch, side):
    model = tiny_classifier("llama")
    batch = token_batch(model, (5, 9))
    if side == "left":
        batch = BatchEncoding({name: tensor.flip(1) for name, tensor in batch.items()})
    head = architecture_of("llama").sequence_head
    hidden = model.base_model(**batch).last_hidden_state

    found = head.apply(model, head.pooling(model, hidden, batch))

    torch.testing.assert_close(found, model(**batch).logits)


@torch.no_grad()
def test_modernbert_pools_as_its_config_says(tiny_classifier, token_batch):
    model = tiny_classifier("modernbert", classifier_pooling="mean")
    batch = token_batch(model, (5, 9))
    head = architecture_of("modernbert").sequence_head
    hidden = model.base_model(**batch).last_hidden_state

    found = head.apply(model, head.pooling(model, hidden, batch))

    torch.testing.assert_close(found, model(**batch).logits)


@pytest.mark.parametrize(
    ("model_type", "settings"),
    [("deberta-v2", {"conv_kernel_size": 3}), ("albert", {"inner_group_num": 2})],
)
def test_models_whose_layers_are_not_in_a_row_are_told(model_type, settings):
    config = AutoConfig.for_model(model_type, **settings)

    assert next(iter(settings)) in architecture_of(model_type).unsupported(config)
    assert architecture_of(model_type).unsupported(AutoConfig.for_model(model_type)) is None
