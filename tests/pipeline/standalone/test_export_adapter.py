import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file

from models.adapters.bottleneck import BottleneckSettings
from models.adapters.composition import Weighted
from models.adapters.hooks import add_adapter, set_active
from models.adapters.site import AdapterSettings
from models.architectures.table import architecture_of
from models.losses import CLASSIFICATION_OBJECTIVE as OBJECTIVE
from pipeline.checkpoints.adapterhub.head import load_head, read_labels
from pipeline.checkpoints.adapterhub.reading import load_adapter, read_adapter
from pipeline.checkpoints.adapterhub.writing import write_adapter, write_head
from pipeline.checkpoints.teachers import (
    TEACHER_TENSORS,
    AdapterSet,
    add_adapters,
    load_teacher,
    read_teacher,
    save_teacher,
)
from pipeline.checkpoints.weights import load_model
from pipeline.errors import InputError
from pipeline.standalone.export_adapter import export_adapter
from pipeline.standalone.import_adapter import import_adapter

FORM = BottleneckSettings(bottleneck_size=5, activation="gelu")
PLAIN = AdapterSettings(form=FORM, attention=False, ffn=True)
SETTINGS = {
    "houlsby": dataclasses.replace(PLAIN, attention=True),
    "pfeiffer": dataclasses.replace(PLAIN, sees="normalised"),
    "post_add": dataclasses.replace(PLAIN, sees="normalised", residual="sum"),
    "residual after": dataclasses.replace(PLAIN, sees="normalised", residual="seen"),
    "parallel": dataclasses.replace(
        PLAIN, sees="input", form=dataclasses.replace(FORM, scaling="learned")
    ),
    "AdapterPlus": dataclasses.replace(
        PLAIN, residual="seen", after_norm=True, form=dataclasses.replace(FORM, scaling="channel")
    ),
    "norms and gate": dataclasses.replace(
        PLAIN, form=dataclasses.replace(FORM, norm_before=True, norm_after=True, gate=True)
    ),
    "Compacter": dataclasses.replace(
        PLAIN, form=dataclasses.replace(FORM, bottleneck_size=8, kronecker_factors=4)
    ),
    "invertible": dataclasses.replace(PLAIN, invertible=2),
    "sizes": dataclasses.replace(PLAIN, sizes={1: 7}, without=(0,)),
}


@pytest.mark.parametrize("case", SETTINGS)
@torch.no_grad()
def test_adapter_is_read_as_it_was_written(tiny_classifier, token_batch, tmp_path, case):
    first, second = (tiny_classifier("bert") for _ in range(2))
    architecture = architecture_of("bert")
    add_adapter(first.base_model, architecture, "mine", SETTINGS[case])
    torch.manual_seed(0)
    for name, parameter in first.named_parameters():
        if ".adapter." in name:
            parameter.normal_(std=0.3)
    set_active(first.base_model, "mine")

    write_adapter(tmp_path, first, architecture, "mine", SETTINGS[case], model_name="somewhere")
    found = read_adapter(tmp_path, second)
    load_adapter(found, second, architecture, name="mine")
    set_active(second.base_model, "mine")

    batch = token_batch(first, (9, 5))
    safe = load_file(tmp_path / "adapter.safetensors")
    binary = torch.load(tmp_path / "pytorch_adapter.bin", weights_only=True)
    assert found.settings == SETTINGS[case]
    assert torch.equal(second(**batch).logits, first(**batch).logits)
    assert safe.keys() == binary.keys()
    assert all(torch.equal(safe[name], binary[name]) for name in safe)


def test_adapter_that_the_library_does_not_have_is_refused(tiny_classifier, tmp_path):
    model = tiny_classifier("bert")
    settings = dataclasses.replace(PLAIN, residual="sum")
    add_adapter(model.base_model, architecture_of("bert"), "odd", settings)

    with pytest.raises(
        InputError, match="no adapter like 'odd', which sees the output with the sum"
    ):
        write_adapter(
            tmp_path / "out", model, architecture_of("bert"), "odd", settings, model_name="x"
        )

    assert not (tmp_path / "out").exists()


def test_trained_teacher_goes_out_and_comes_back_equal(tiny_teacher, tiny_backbone, tmp_path):
    export_adapter(tiny_teacher.folder, tmp_path / "hub")
    import_adapter(
        [tmp_path / "hub"], tmp_path / "teacher", backbone=tiny_backbone.reference, max_length=16
    )

    there = load_file(tiny_teacher.folder / TEACHER_TENSORS)
    back = load_file(tmp_path / "teacher" / TEACHER_TENSORS)
    assert there.keys() == back.keys()
    assert all(torch.equal(there[name], back[name]) for name in there)
    assert read_teacher(tmp_path / "teacher").labels == ("negative", "positive")


def test_adapter_gets_the_name_that_it_is_given(tiny_teacher, tiny_backbone, tmp_path):
    export_adapter(tiny_teacher.folder, tmp_path / "hub", name="reviews")
    import_adapter([tmp_path / "hub"], tmp_path / "teacher", backbone=tiny_backbone.reference)

    there = load_file(tiny_teacher.folder / TEACHER_TENSORS)
    back = load_file(tmp_path / "teacher" / TEACHER_TENSORS)
    assert read_teacher(tmp_path / "teacher").adapter.active == "reviews"
    renamed = {name.replace(".task.", ".reviews."): tensor for name, tensor in there.items()}
    assert renamed.keys() == back.keys()
    assert all(torch.equal(renamed[name], back[name]) for name in renamed)


def test_several_adapters_cannot_get_one_name(hub_adapter, tiny_backbone, tmp_path):
    folders = [hub_adapter(tmp_path / name, name, head=name == "a") for name in "ab"]
    import_adapter(
        folders, tmp_path / "teacher", backbone=tiny_backbone.reference, together="stack"
    )

    with pytest.raises(InputError, match="has the adapters a, b: --name c can name only one"):
        export_adapter(tmp_path / "teacher", tmp_path / "out", name="c")

    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("together", ["stack", "average"])
@torch.no_grad()
def test_composition_goes_out_as_a_setup_and_comes_back_equal(
    hub_adapter, tiny_backbone, token_batch, tmp_path, together
):
    folders = [
        hub_adapter(tmp_path / name, name, head=name == "a", seed=seed)
        for seed, name in enumerate("ab")
    ]
    backbone = tiny_backbone.reference
    import_adapter(folders, tmp_path / "first", backbone=backbone, together=together)

    export_adapter(tmp_path / "first", tmp_path / "setup")
    import_adapter([tmp_path / "setup"], tmp_path / "second", backbone=backbone)

    first, second = (load_teacher(tiny_backbone, tmp_path / name) for name in ("first", "second"))
    batch = token_batch(first, (9, 5))
    setup = json.loads((tmp_path / "setup" / "adapter_setup.json").read_text())
    assert setup["adapter_setup"]["type"] == together.capitalize()
    assert torch.equal(first(**batch).logits, second(**batch).logits)


def test_setup_and_how_adapters_work_together_exclude_each_other(tmp_path):
    (tmp_path / "adapter_setup.json").write_text("{}")

    with pytest.raises(InputError, match="leave out --fusion and --together"):
        import_adapter([tmp_path], tmp_path / "out", backbone="x", together="stack")


def test_learned_weights_and_a_teacher_without_adapters_are_refused(
    tiny_context, tiny_head_only, tmp_path
):
    model = load_model(tiny_context.backbone, OBJECTIVE, labels=("negative", "positive"), seed=0)
    adapters = AdapterSet(
        adapters={"a": PLAIN, "b": PLAIN}, active=Weighted(("a", "b")), fusion=None
    )
    add_adapters(model, adapters)
    (tmp_path / "teacher").mkdir()
    save_teacher(
        model,
        tmp_path / "teacher",
        context=tiny_context,
        labels=("negative", "positive"),
        adapter=adapters,
    )

    with pytest.raises(InputError, match="format has no weighted of"):
        export_adapter(tmp_path / "teacher", tmp_path / "out")
    with pytest.raises(InputError, match="has no adapters: there is nothing to write"):
        export_adapter(tiny_head_only.folder, tmp_path / "out")

    assert not (tmp_path / "out").exists()


@torch.no_grad()
def test_head_of_a_decoder_is_written_as_the_stock_one(tiny_classifier, tmp_path):
    first, second = (tiny_classifier("gpt2", seed=seed) for seed in range(2))

    write_head(tmp_path, first, "mine", ("a", "b", "c"), model_name="x")
    load_head(tmp_path, second)

    assert torch.equal(first.score.weight, second.score.weight)
    assert read_labels(tmp_path) == ("a", "b", "c")


def test_parallel_adapter_of_a_decoder_that_sees_the_ffns_input_is_refused(
    tiny_classifier, tmp_path
):
    model = tiny_classifier("gpt2")
    architecture = architecture_of("gpt2")
    settings = dataclasses.replace(PLAIN, sees="input")
    add_adapter(model.base_model, architecture, "mine", settings)

    with pytest.raises(InputError, match="parallel adapters read the residual"):
        write_adapter(tmp_path, model, architecture, "mine", settings, model_name="x")
