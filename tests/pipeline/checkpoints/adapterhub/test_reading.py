import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from support.adapterhub_folders import (
    ADAPTER_PLUS,
    DOUBLE_SEQ_BN,
    PAR_BN,
    SEQ_BN,
    load,
    random,
    tensors_of,
    write,
)

from models.adapters.hooks import set_active
from models.adapters.parameter_names import is_adapter_parameter
from models.architectures.table import architecture_of
from pipeline.checkpoints.adapterhub.reading import load_fusion, read_adapter
from pipeline.errors import InputError


@torch.no_grad()
def values_of(layer, x):
    """Return h, x, and what the layer gives, of its FFN half."""
    taken = {}
    handles = [
        layer.output.dense.register_forward_pre_hook(lambda _, a: taken.update(units=a[0])),
        layer.intermediate.dense.register_forward_pre_hook(lambda _, a: taken.update(x=a[0])),
    ]
    output = layer(x)
    for handle in handles:
        handle.remove()
    dense = layer.output.dense
    h = F.linear(taken["units"], dense.weight, dense.bias)
    return h, taken["x"], output[0] if isinstance(output, tuple) else output


def bottleneck(tensors, activation, *, layer=1, name="task"):
    prefix = f"bert.encoder.layer.{layer}.output.adapters.{name}"
    down, up = f"{prefix}.adapter_down.0", f"{prefix}.adapter_up"

    def change(z):
        units = activation(F.linear(z, tensors[f"{down}.weight"], tensors[f"{down}.bias"]))
        return F.linear(units, tensors[f"{up}.weight"], tensors[f"{up}.bias"])

    return change


FORMULAS = {
    "double_seq_bn": (DOUBLE_SEQ_BN, F.silu, lambda h, x, a, n: n(a(h) + h + x)),
    "seq_bn": (SEQ_BN, F.relu, lambda h, x, a, n: n(a(n(h + x)) + h + x)),
    "seq_bn, post_add": (
        SEQ_BN | {"residual_before_ln": "post_add"},
        F.relu,
        lambda h, x, a, n: n(a(n(h + x)) + (h + x) + x),
    ),
    "seq_bn, residual after": (
        SEQ_BN | {"residual_before_ln": False},
        F.relu,
        lambda h, x, a, n: n(a(n(h + x)) + n(h + x) + x),
    ),
    "par_bn": (PAR_BN, F.relu, lambda h, x, a, n: n(h + 4 * a(x) + x)),
    "leakyrelu": (
        SEQ_BN | {"non_linearity": "LeakyReLU"},
        F.leaky_relu,
        lambda h, x, a, n: n(a(n(h + x)) + h + x),
    ),
}


@pytest.mark.parametrize("case", FORMULAS)
@torch.no_grad()
def test_layer_computes_the_formula_of_its_configuration(tiny_classifier, tmp_path, case):
    config, activation, formula = FORMULAS[case]
    model = load(write(tmp_path / "adapter", config), tiny_classifier("bert"))
    layer = model.bert.encoder.layer[1]
    norm = layer.output.LayerNorm
    change = bottleneck(tensors_of(config), activation)

    h, x, found = values_of(layer, random(2, 5, 32, seed=7))

    torch.testing.assert_close(found, formula(h, x, change, norm.forward))


@torch.no_grad()
def test_adapter_plus_works_behind_the_norm(tiny_classifier, tmp_path):
    model = load(write(tmp_path / "adapter", ADAPTER_PLUS), tiny_classifier("bert"))
    layer = model.bert.encoder.layer[1]
    tensors = tensors_of(ADAPTER_PLUS)
    change = bottleneck(tensors, F.gelu)

    h, x, found = values_of(layer, random(2, 5, 32, seed=7))

    s = layer.output.LayerNorm.forward(h + x)
    scaling = tensors["bert.encoder.layer.1.output.adapters.task.scaling"]
    torch.testing.assert_close(found, scaling * change(s) + s)


@torch.no_grad()
def test_safetensors_bare_prefix_and_old_names_give_the_same(
    tiny_classifier, token_batch, tmp_path
):
    usual = tensors_of(SEQ_BN)
    bare = {name.removeprefix("bert."): tensor for name, tensor in usual.items()}
    old = tensors_of(SEQ_BN, infix="layer_text_task_adapters")
    model = load(write(tmp_path / "usual"), tiny_classifier("bert"))
    batch = token_batch(model, (9, 5))
    expected = model(**batch).logits

    folders = [
        write(tmp_path / "safe", safe=True),
        write(tmp_path / "bare", tensors=bare),
        write(tmp_path / "old", tensors=old),
        write(tmp_path / "named", "pfeiffer", tensors_of(SEQ_BN | {"reduction_factor": 16})),
    ]

    for folder in folders[:3]:
        assert torch.equal(load(folder, tiny_classifier("bert"))(**batch).logits, expected)
    assert not torch.equal(load(folders[3], tiny_classifier("bert"))(**batch).logits, expected)


def test_activation_of_the_first_version_is_renamed(tiny_classifier, tmp_path):
    config = SEQ_BN | {"non_linearity": "gelu"}
    model = tiny_classifier("bert")

    now = read_adapter(write(tmp_path / "now", config), model)
    then = read_adapter(write(tmp_path / "then", config, version=None), model)

    assert now.settings.form.activation == "gelu"
    assert then.settings.form.activation == "gelu_new"


def test_sizes_by_layer_and_left_out_layers(tiny_classifier, tmp_path):
    by_layer = SEQ_BN | {"reduction_factor": {"1": 4, "default": 16}}
    left_out = SEQ_BN | {"leave_out": [0]}
    model = tiny_classifier("bert")

    sizes = read_adapter(write(tmp_path / "a", by_layer, tensors={}), model).settings
    folder = write(tmp_path / "b", left_out, tensors_of(SEQ_BN, layers=(1,)))
    load(folder, model)

    assert [sizes.form_in(layer).bottleneck_size for layer in (0, 1)] == [2, 8]
    first, second = (layer.output.dense for layer in model.bert.encoder.layer)
    assert not hasattr(first, "adapter")
    assert hasattr(second, "adapter")


def fusion_folder(folder: Path, names=("a", "b"), **config):
    folder.mkdir()
    meta = {
        "adapter_names": list(names),
        "config": config,
        "hidden_size": 32,
        "model_type": "bert",
        "name": ",".join(names),
    }
    (folder / "adapter_fusion_config.json").write_text(json.dumps(meta))
    tensors = {}
    for layer in (0, 1):
        prefix = f"bert.encoder.layer.{layer}.output.adapter_fusion_layer.{','.join(names)}"
        for part in ("query", "key"):
            tensors[f"{prefix}.{part}.weight"] = random(32, 32, seed=layer)
            tensors[f"{prefix}.{part}.bias"] = random(32, seed=layer + 1)
        tensors[f"{prefix}.value.weight"] = random(32, 32, seed=layer + 2)
    torch.save(tensors, folder / "pytorch_model_adapter_fusion.bin")
    return folder


@pytest.fixture
def with_two(tiny_classifier, tmp_path):
    model = tiny_classifier("bert")
    for name in ("a", "b"):
        load(write(tmp_path / name, name=name), model, name)
    return model


def test_fusion_is_loaded_for_every_site(with_two, tmp_path):
    composition = load_fusion(fusion_folder(tmp_path / "fusion"), with_two, architecture_of("bert"))

    set_active(with_two, composition)
    for layer, module in enumerate(with_two.bert.encoder.layer):
        fusion = module.output.dense.adapter.fusions["a,b"]
        assert torch.equal(fusion.value.weight, random(32, 32, seed=layer + 2))


def test_fusion_with_a_temperature_is_refused(with_two, tmp_path):
    folder = fusion_folder(tmp_path / "fusion", temperature=True)

    with pytest.raises(InputError, match="temperature is not supported"):
        load_fusion(folder, with_two, architecture_of("bert"))


def decoder_adapter(folder, config):
    """Write a checkpoint of a tiny GPT-2."""
    tensors = {
        name.replace("bert.encoder.layer.", "transformer.h.").replace(
            ".output.adapters.", ".output_adapters.adapters."
        ): tensor
        for name, tensor in tensors_of(config).items()
    }
    return write(folder, config, tensors, model_type="gpt2")


def test_settings_mean_what_the_library_makes_of_them_before_a_norm(tiny_classifier, tmp_path):
    model = tiny_classifier("gpt2")

    seq, par, plus = (
        read_adapter(decoder_adapter(tmp_path / name, config), model).settings
        for name, config in (("seq", SEQ_BN), ("par", PAR_BN), ("plus", ADAPTER_PLUS))
    )

    assert (seq.sees, seq.residual) == ("normalised", "output")
    assert par.sees == "stream"
    assert (plus.sees, plus.residual, plus.after_norm) == ("normalised", "output", False)
    load(decoder_adapter(tmp_path / "hung", SEQ_BN), model)
    assert torch.equal(
        model.transformer.h[1].mlp.c_proj.adapter.adapters["task"].up.bias,
        random(32, seed=31),
    )


def test_albert_with_an_adapter_after_attention_is_refused(tiny_classifier, tmp_path):
    folder = write(tmp_path / "a", DOUBLE_SEQ_BN, model_type="albert")

    with pytest.raises(InputError, match=r"mh_adapter\) are not supported there"):
        read_adapter(folder, tiny_classifier("albert"))


@pytest.mark.parametrize("safe", [True, False])
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_adapter_of_half_precision_is_read_and_works_in_float32(
    tiny_classifier, tmp_path, kind, safe
):
    halved = {name: tensor.to(kind) for name, tensor in tensors_of(SEQ_BN).items()}
    model = load(write(tmp_path / "half", tensors=halved, safe=safe), tiny_classifier("bert"))
    found = {
        name: parameter
        for name, parameter in model.named_parameters()
        if is_adapter_parameter(name)
    }

    expected = sorted(tensor.float().norm().item() for tensor in halved.values())
    assert {parameter.dtype for parameter in found.values()} == {torch.float32}
    assert sorted(each.norm().item() for each in found.values()) == pytest.approx(expected)
