import json
import logging
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from models.losses import CLASSIFICATION_OBJECTIVE as OBJECTIVE
from pipeline.checkpoints.pretrained import Checkpoint, find_architecture, find_checkpoint
from pipeline.checkpoints.weights import drawn_parameters, holds_head, load_model
from pipeline.config import ModelConfig
from pipeline.errors import InputError

LABELS = ("no", "yes")


@pytest.fixture
def broken(tiny_checkpoint, tmp_path):
    """A copy of `tiny_checkpoint` that a test may break."""
    return shutil.copytree(tiny_checkpoint, tmp_path / "broken")


def load(folder):
    return load_model(find_checkpoint(ModelConfig(model=str(folder))), OBJECTIVE, labels=LABELS)


def change_tensors(folder, change):
    tensors = change(load_file(folder / "model.safetensors"))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def change_config(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", b"not weights"),
        ("config.json", b'{"model_type": "no such architecture"}'),
    ],
)
def test_unreadable_model_is_refused(broken, name, content):
    (broken / name).write_bytes(content)
    checkpoint = find_checkpoint(ModelConfig(model=str(broken)))

    with pytest.raises(InputError, match="Cannot read the model"):
        load_model(checkpoint, OBJECTIVE, labels=("no", "yes"), seed=0)


def test_labels_in_another_order_than_the_models_are_refused(tiny_student):
    checkpoint = find_checkpoint(ModelConfig(model=str(tiny_student.folder)))

    with pytest.raises(InputError, match=r"in the order \['negative', 'positive'\]"):
        load_model(checkpoint, OBJECTIVE, labels=("positive", "negative"), seed=0)


@pytest.mark.parametrize(
    ("labels", "held"), [(("no", "yes"), True), (("no", "maybe", "yes"), False)]
)
def test_head_of_another_shape_is_not_the_checkpoints(tiny_backbone, labels, held):
    model = load_model(tiny_backbone, OBJECTIVE, labels=labels)

    assert holds_head(tiny_backbone, model, OBJECTIVE.head(find_architecture(model))) is held


def test_head_that_was_not_saved_is_not_the_checkpoints(tiny_backbone, tiny_classifier, tmp_path):
    tiny_classifier("bert").base_model.save_pretrained(tmp_path)
    model = load_model(tiny_backbone, OBJECTIVE, labels=("no", "yes"))

    bare = Checkpoint(folder=tmp_path, digest="")
    assert not holds_head(bare, model, OBJECTIVE.head(find_architecture(model)))


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_weights_of_half_precision_are_float32_in_the_model(broken, kind):
    change_tensors(broken, lambda tensors: {n: t.to(kind) for n, t in tensors.items()})
    change_config(broken, dtype=str(kind).removeprefix("torch."))

    model = load(broken)

    saved = load_file(broken / "model.safetensors")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert all(torch.equal(p, saved[name].float()) for name, p in model.named_parameters())


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "model."])
def test_weights_of_a_wrapped_model_are_read_and_said(broken, caplog, prefix):
    expected = load_file(broken / "model.safetensors")
    change_tensors(broken, lambda tensors: {f"{prefix}{n}": t for n, t in tensors.items()})

    with caplog.at_level(logging.INFO, logger="pipeline"):
        model = load(broken)

    assert all(torch.equal(p, expected[name]) for name, p in model.named_parameters())
    assert f"{prefix}bert.embeddings.LayerNorm.bias is read as bert.emb" in caplog.text


def test_more_positions_than_the_weights_have_are_refused(broken):
    change_config(broken, max_position_embeddings=1024)

    with pytest.raises(InputError, match=r"position_embeddings.weight is \(64, 32\), expected"):
        load(broken)


def test_fewer_layers_than_the_weights_have_are_refused(broken):
    change_config(broken, num_hidden_layers=1)

    with pytest.raises(InputError, match=r"no place for bert\.encoder\.layer\.1\."):
        load(broken)


def test_quantised_model_is_refused(broken):
    change_config(broken, quantization_config={"load_in_8bit": True})

    with pytest.raises(InputError, match="is quantised"):
        load(broken)


def test_weights_of_another_kind_than_the_config_says_are_refused(broken):
    change_config(broken, model_type="roberta")

    with pytest.raises(InputError, match="its model_type is 'roberta', and its architectures name"):
        load(broken)


def test_integers_are_not_read_as_weights(broken):
    name = "bert.encoder.layer.0.output.dense.weight"
    change_tensors(broken, lambda tensors: tensors | {name: tensors[name].to(torch.int8)})

    with pytest.raises(InputError, match=f"{name} has the type I8"):
        load(broken)


def test_pooler_that_the_checkpoint_lacks_is_new_with_the_head(broken):
    change_tensors(broken, lambda tensors: {n: t for n, t in tensors.items() if "pooler" not in n})

    model = load(broken)

    drawn = drawn_parameters(find_checkpoint(ModelConfig(model=str(broken))), model)
    assert drawn == ("bert.pooler.dense.weight", "bert.pooler.dense.bias")


def test_half_of_a_head_is_refused(broken):
    change_tensors(
        broken, lambda tensors: {n: t for n, t in tensors.items() if n != "classifier.bias"}
    )

    with pytest.raises(InputError, match=r"missing classifier\.bias"):
        load(broken)
