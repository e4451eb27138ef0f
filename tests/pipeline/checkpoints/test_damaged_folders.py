"""Every damage of a folder that a user gives ends in one clear error, or does no harm."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.damage import damages, problems

from models.losses import CLASSIFICATION_OBJECTIVE as OBJECTIVE
from pipeline.checkpoints.adapter_folders import attach_adapter, attach_head, head_labels
from pipeline.checkpoints.context import ModelContext
from pipeline.checkpoints.pretrained import count_layers, find_checkpoint
from pipeline.checkpoints.teachers import add_adapters, load_backed_teacher, save_teacher
from pipeline.checkpoints.tokenizers import load_tokenizer, longest_input
from pipeline.checkpoints.weights import load_model
from pipeline.config import AdapterConfig, ModelConfig
from pipeline.errors import InputError
from pipeline.facts.compute import Compute
from pipeline.standalone.import_adapter import import_adapter
from pipeline.tasks.classification import CLASSIFICATION

LABELS = ("negative", "positive")
FEW = (None, -1, "x", [1])


@pytest.fixture(scope="module")
def teacher(tiny_backbone, tmp_path_factory):
    """An untrained teacher."""
    folder = tmp_path_factory.mktemp("teacher")
    model = load_model(tiny_backbone, OBJECTIVE, labels=LABELS, seed=0)
    adapter = AdapterConfig(bottleneck_size=4)
    add_adapters(model, adapter)
    context = ModelContext(
        backbone=tiny_backbone, task=CLASSIFICATION, max_length=16, seed=0, compute=Compute()
    )
    save_teacher(model, folder, context=context, labels=LABELS, adapter=adapter)
    return folder


def load_teacher_of(folder):
    return load_backed_teacher(folder)


def read_checkpoint(folder):
    checkpoint = find_checkpoint(ModelConfig(model=str(folder)))
    count_layers(checkpoint)
    longest_input(checkpoint)
    load_tokenizer(checkpoint, max_length=16)
    return load_model(checkpoint, OBJECTIVE, labels=LABELS, seed=0)


def test_damaged_teacher_is_refused_or_harmless(teacher, tmp_path):
    chosen = damages(teacher, values=FEW)

    assert problems(teacher, tmp_path, load_teacher_of, chosen=chosen, every=5) == []


def test_damaged_teacher_is_refused_where_its_adapter_and_head_are_taken(
    teacher, tiny_backbone, tmp_path
):
    def read(folder):
        model = load_model(tiny_backbone, OBJECTIVE, labels=LABELS, seed=0)
        attach_adapter(folder, "a", model, tiny_backbone)
        attach_head(folder, model)
        return head_labels(folder)

    chosen = (each for each in damages(teacher) if "tensor " in each[0])
    assert problems(teacher, tmp_path, read, chosen=chosen, every=3) == []


def test_damaged_composition_of_adapters_is_refused_or_harmless(
    hub_adapter, tiny_backbone, tmp_path
):
    folders = [hub_adapter(tmp_path / name, name, head=name == "a") for name in "ab"]
    out = tmp_path / "imported"
    import_adapter(folders, out, backbone=tiny_backbone.reference, together="average")

    chosen = (each for each in damages(out) if "'adapter'" in each[0])
    assert problems(out, tmp_path, load_teacher_of, chosen=chosen, every=13) == []


def test_damaged_checkpoint_is_refused_or_harmless(tiny_checkpoint, tmp_path):
    chosen = (each for each in damages(tiny_checkpoint, values=FEW) if "'vocab'" not in each[0])

    assert problems(tiny_checkpoint, tmp_path, read_checkpoint, chosen=chosen, every=13) == []


@pytest.mark.parametrize("damage", ["missing", "misshapen", "not finite"])
def test_backbone_that_would_be_partly_random_is_refused(tiny_checkpoint, tmp_path, damage):
    for path in tiny_checkpoint.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    tensors = load_file(tmp_path / "model.safetensors")
    name = "bert.encoder.layer.1.output.dense.weight"
    weight = tensors.pop(name)
    if damage == "misshapen":
        tensors[name] = weight[:2].contiguous()
    if damage == "not finite":
        tensors[name] = weight * torch.nan
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(InputError, match=f"weights in {tmp_path} are not those .*{name}"):
        read_checkpoint(tmp_path)


def test_head_of_a_checkpoint_may_be_missing(tiny_checkpoint, tmp_path):
    for path in tiny_checkpoint.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    tensors = load_file(tmp_path / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if "encoder" in name}
    kept |= {name: tensor for name, tensor in tensors.items() if "embeddings" in name}
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})

    assert read_checkpoint(tmp_path)


def test_every_wrong_tensor_of_a_teacher_is_named_at_once(teacher, tmp_path):
    (tmp_path / "teacher.json").write_bytes((teacher / "teacher.json").read_bytes())
    tensors = load_file(teacher / "teacher.safetensors")
    first, second, *_ = sorted(tensors)
    del tensors[first]
    tensors |= {second: torch.zeros(3), "other": torch.zeros(1)}
    save_file(tensors, tmp_path / "teacher.safetensors")

    with pytest.raises(InputError) as caught:
        load_teacher_of(tmp_path)

    for part in (f"missing {first}", f"{second} is (3,)", "unknown other", str(tmp_path)):
        assert part in str(caught.value)


def test_teacher_whose_backbone_is_gone_is_named(teacher, tmp_path):
    facts = json.loads((teacher / "teacher.json").read_text()) | {"backbone": "./gone"}
    (tmp_path / "teacher.json").write_text(json.dumps(facts))
    (tmp_path / "teacher.safetensors").write_bytes((teacher / "teacher.safetensors").read_bytes())

    with pytest.raises(InputError, match=f"teacher in {tmp_path} needs its backbone. ./gone does"):
        load_teacher_of(tmp_path)
