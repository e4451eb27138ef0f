from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models.adapters.bottleneck import BottleneckAdapter, BottleneckSettings
from models.adapters.composition import Fuse, Weighted
from models.adapters.hooks import (
    add_adapter,
    add_fusion,
    insert_adapters,
    set_active,
    settings_of,
)
from models.adapters.parameter_names import ADAPTER, is_adapter_parameter
from models.adapters.site import AdapterSettings, AdapterSite
from models.architectures.table import ARCHITECTURES, architecture_of
from models.teacher import backbone_digest, freeze_backbone, is_head_parameter

KINDS = ("houlsby", "pfeiffer", "parallel")
MODEL_TYPES = sorted(ARCHITECTURES)


def adapt(model, kind, **settings):
    architecture = architecture_of(model.config.model_type)
    insert_adapters(
        model.base_model, architecture, settings_of(kind=kind, bottleneck_size=4, **settings)
    )
    return model


def randomise_adapters(model):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if is_adapter_parameter(name):
                parameter.normal_(std=0.3)


def adapters_of(module):
    return [m for m in module.modules() if isinstance(m, BottleneckAdapter)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_new_adapter_is_the_identity(tiny_classifier, token_batch, model_type, kind):
    model = tiny_classifier(model_type)
    batch = token_batch(model, (9, 5, 7))
    before = model(**batch).logits

    adapt(model, kind)

    assert torch.equal(model(**batch).logits, before)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_random_adapter_changes_the_logits(tiny_classifier, token_batch, model_type, kind):
    model = adapt(tiny_classifier(model_type), kind)
    batch = token_batch(model, (9, 5, 7))
    before = model(**batch).logits

    randomise_adapters(model)

    assert (model(**batch).logits - before).abs().max() > 0.01


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_exactly_adapters_and_head_train(tiny_classifier, token_batch, model_type):
    plain = tiny_classifier(model_type)
    backbone = {n for n, _ in plain.named_parameters() if not is_head_parameter(plain, n)}
    model = adapt(plain, "houlsby")
    freeze_backbone(model)

    model(**token_batch(model, (9, 5))).logits.square().sum().backward()

    trainable = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trainable == {n for n, _ in model.named_parameters()} - backbone
    assert {n for n, p in model.named_parameters() if p.grad is not None} == trainable


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_training_adapters_changes_the_output_and_no_bit_of_the_backbone(
    tiny_classifier, token_batch, model_type, kind
):
    model = adapt(tiny_classifier(model_type), kind)
    freeze_backbone(model)
    batch = token_batch(model, (9, 5, 7))
    digest, before = backbone_digest(model), model(**batch).logits.detach()
    optimizer = torch.optim.AdamW(
        [p for n, p in model.named_parameters() if is_adapter_parameter(n)], lr=0.05
    )

    F.cross_entropy(model(**batch).logits, torch.tensor([0, 1, 2])).backward()
    optimizer.step()

    assert backbone_digest(model) == digest
    assert (model(**batch).logits - before).abs().max() > 1e-3


@pytest.mark.parametrize(("kind", "per_layer"), [("houlsby", 2), ("pfeiffer", 1), ("parallel", 1)])
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_number_of_adapters_per_layer(tiny_classifier, model_type, kind, per_layer):
    model = adapt(tiny_classifier(model_type), kind)

    layers = architecture_of(model_type).layers(model.base_model)

    assert [len(adapters_of(layer)) for layer in layers] == [per_layer] * len(layers)
    assert len(adapters_of(model)) == len(layers) * per_layer


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_houlsby_adapters_sit_on_both_dense_layers(tiny_classifier, model_type):
    model = adapt(tiny_classifier(model_type), "houlsby")

    architecture = architecture_of(model_type)
    for layer in architecture.layers(model.base_model):
        for path in (architecture.attention_output, architecture.ffn_output):
            assert isinstance(layer.get_submodule(f"{path}.{ADAPTER}"), AdapterSite)


@pytest.mark.parametrize("model_type", ["gpt2", "llama"])
@torch.no_grad()
def test_parallel_adapter_sees_the_ffns_input_where_layer_norm_comes_first(
    tiny_classifier, model_type
):
    model = adapt(tiny_classifier(model_type), "parallel")
    architecture = architecture_of(model_type)
    layer = architecture.layers(model.base_model)[0]
    x = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(1))
    plain = layer.mlp(x)
    randomise_adapters(model)

    (adapter,) = adapters_of(layer)
    torch.testing.assert_close(layer.mlp(x), plain + adapter.up(F.relu(adapter.down(x))))


def test_adapter_behind_a_norm_is_refused_where_there_is_none(tiny_classifier):
    model = tiny_classifier("llama")
    form = BottleneckSettings(bottleneck_size=4)

    with pytest.raises(ValueError, match="LayerNorm comes before each half"):
        add_adapter(
            model.base_model,
            architecture_of("llama"),
            "task",
            AdapterSettings(form=form, attention=False, ffn=True, after_norm=True),
        )


@pytest.mark.parametrize("model_type", ["gpt2", "llama", "modernbert"])
@pytest.mark.parametrize(
    ("settings", "formula"),
    [
        ({"sees": "normalised"}, lambda a, h, r: a(h + r) + h),
        ({"sees": "normalised", "residual": "seen"}, lambda a, h, r: a(h + r) + h + r),
        ({"sees": "normalised", "residual": "sum"}, lambda a, h, r: a(h + r) + h + r),
        ({"sees": "stream"}, lambda a, h, r: a(r) + h),
    ],
)
@torch.no_grad()
def test_before_a_norm_an_adapter_sees_the_sum_or_what_is_added(
    tiny_classifier, token_batch, model_type, settings, formula
):
    model = tiny_classifier(model_type)
    architecture = architecture_of(model_type)
    layer = architecture.layers(model.base_model)[1]
    form = BottleneckSettings(bottleneck_size=4)
    add_adapter(
        model.base_model,
        architecture,
        "task",
        AdapterSettings(form=form, attention=False, ffn=True, **settings),
    )
    randomise_adapters(model)
    taken = {}
    norm, dense = architecture.norm_before(layer, "ffn"), architecture.dense(layer, "ffn")
    norm.register_forward_pre_hook(lambda _, given: taken.update(r=given[0]))
    dense.register_forward_hook(lambda _, _given, output: taken.update(changed=output))
    batch = token_batch(model, (9, 9))

    set_active(model.base_model, None)
    model(**batch)
    h = taken["changed"]
    set_active(model.base_model, "task")
    layer_of_first = architecture.layers(model.base_model)[0]
    architecture.dense(layer_of_first, "ffn").adapter.active = None
    model(**batch)

    adapter = dense.adapter.adapters["task"]

    def change(x):
        return adapter.up(F.relu(adapter.down(x)))

    torch.testing.assert_close(taken["changed"], formula(change, h, taken["r"]))


@pytest.mark.parametrize("kind", KINDS)
def test_backbone_parameters_keep_their_names(tiny_classifier, kind):
    model = tiny_classifier("bert")
    names = [name for name, _ in model.named_parameters()]

    adapt(model, kind)

    assert [n for n, _ in model.named_parameters() if not is_adapter_parameter(n)] == names


@torch.no_grad()
def test_parallel_adapter_adds_its_change_of_the_ffns_input_in_bert(tiny_classifier):
    model = adapt(tiny_classifier("bert"), "parallel")
    randomise_adapters(model)
    layer = model.bert.encoder.layer[0]
    x = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(1))

    found = layer.feed_forward_chunk(x)

    dense, adapter = layer.output.dense, layer.output.dense.adapter.adapters["task"]
    ffn = F.linear(layer.intermediate(x), dense.weight, dense.bias)
    change = adapter.up(F.relu(adapter.down(x)))
    norm = layer.output.LayerNorm
    expected = F.layer_norm(ffn + x + change, (32,), norm.weight, norm.bias, norm.eps)
    torch.testing.assert_close(found, expected)


@torch.no_grad()
def test_parallel_adapter_adds_its_change_of_the_ffns_input_in_distilbert(tiny_classifier):
    model = adapt(tiny_classifier("distilbert"), "parallel")
    ffn = model.distilbert.transformer.layer[0].ffn
    x = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(1))
    plain = ffn(x)
    randomise_adapters(model)

    adapter = ffn.lin2.adapter.adapters["task"]
    torch.testing.assert_close(ffn(x), plain + adapter.up(F.relu(adapter.down(x))))


@pytest.mark.parametrize("site", ["attention", "ffn"])
@torch.no_grad()
def test_sequential_adapter_maps_the_dense_output_in_bert(tiny_classifier, site):
    model = adapt(tiny_classifier("bert"), "houlsby")
    randomise_adapters(model)
    layer = model.bert.encoder.layer[1]
    x = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(1))
    taken = {}
    output = layer.attention.output if site == "attention" else layer.output
    output.register_forward_pre_hook(lambda _, arguments: taken.update(given=arguments))
    output.register_forward_hook(lambda *arguments: taken.update(found=arguments[-1]))

    layer(x)

    (units, residual), found = taken["given"], taken["found"]
    dense, norm, adapter = output.dense, output.LayerNorm, output.dense.adapter.adapters["task"]
    site_output = F.linear(units, dense.weight, dense.bias)
    adapted = site_output + adapter.up(F.relu(adapter.down(site_output)))
    expected = F.layer_norm(adapted + residual, (32,), norm.weight, norm.bias, norm.eps)
    torch.testing.assert_close(found, expected)


def test_adapters_take_the_dtype_of_their_site(tiny_classifier):
    model = adapt(tiny_classifier("bert").to(torch.bfloat16), "houlsby")

    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def test_adapter_parameter_is_told_by_a_whole_part_of_its_name():
    assert is_adapter_parameter("bert.encoder.layer.0.output.dense.adapter.up.weight")
    assert not is_adapter_parameter("bert.encoder.layer.0.output.adapter_like.weight")


def test_bottleneck_size_is_the_width_between_the_projections(tiny_classifier):
    model = adapt(tiny_classifier("bert"), "pfeiffer")

    adapter = adapters_of(model)[0]
    assert isinstance(adapter.down, nn.Linear)
    assert (adapter.down.out_features, adapter.up.in_features) == (4, 4)


@pytest.mark.parametrize("is_training", [True, False])
def test_attached_modules_are_in_the_mode_of_the_model(tiny_classifier, is_training):
    model = tiny_classifier("bert").train(is_training)
    backbone, architecture = model.base_model, architecture_of("bert")
    settings = settings_of(kind="houlsby", bottleneck_size=4, dropout=0.5)
    for name in ("a", "b"):
        add_adapter(backbone, architecture, name, replace(settings, invertible=2.0))
    for composition in (Fuse(("a", "b")), Weighted(("a", "b"))):
        add_fusion(backbone, composition)

    assert {module.training for module in model.modules()} == {is_training}


def test_adapter_attached_in_eval_mode_answers_the_same_at_each_call(tiny_classifier, token_batch):
    model = adapt(tiny_classifier("bert").eval(), "pfeiffer", dropout=0.9)
    randomise_adapters(model)
    batch = token_batch(model, (9, 5))

    assert torch.equal(model(**batch).logits, model(**batch).logits)
