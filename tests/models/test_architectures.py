import pytest
import torch

from models.architectures import ARCHITECTURES, UnknownArchitectureError, architecture_of


def test_unknown_architecture_error_names_the_known_ones():
    with pytest.raises(UnknownArchitectureError, match="'gpt2'") as caught:
        architecture_of("gpt2")

    assert all(name in str(caught.value) for name in ARCHITECTURES)


@pytest.mark.parametrize("model_type", sorted(ARCHITECTURES))
def test_every_site_of_the_table_exists_in_every_layer(tiny_classifier, model_type):
    backbone = tiny_classifier(model_type).base_model
    architecture = architecture_of(model_type)

    layers = architecture.layers(backbone)

    assert len(layers) == 2
    assert architecture.hidden_size(backbone) == 32
    assert getattr(backbone.config, architecture.ffn_size_setting) == 64
    assert getattr(backbone.config, architecture.activation_setting) == "gelu"
    for layer in layers:
        assert layer.get_submodule(architecture.attention_output).out_features == 32
        assert layer.get_submodule(architecture.ffn_input).out_features == 64
        assert layer.get_submodule(architecture.ffn_output).in_features == 64
        assert layer.get_submodule(architecture.attention_norm).normalized_shape == (32,)
        assert layer.get_submodule(architecture.ffn_norm).normalized_shape == (32,)


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
        found = architecture_of(model_type).head(model, hidden)
        of_first_tokens = architecture_of(model_type).head(model, hidden[:, :1])

    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(of_first_tokens, expected)
