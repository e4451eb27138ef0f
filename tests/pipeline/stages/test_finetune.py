import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from models.adapters.parameter_names import is_adapter_parameter
from models.losses import CLASSIFICATION_OBJECTIVE as OBJECTIVE
from models.teacher import backbone_digest
from pipeline.checkpoints.pretrained import find_checkpoint
from pipeline.checkpoints.teachers import load_teacher
from pipeline.checkpoints.weights import load_model
from pipeline.config import AdapterConfig, ModelConfig
from pipeline.errors import InputError
from pipeline.stages.finetune import TeacherStart
from pipeline.store.digests import sha256_file
from pipeline.store.store import Store

BARELY = {"epochs": 0.01, "learning_rate": 1e-12}


@pytest.fixture(scope="module")
def warnings_of(tiny_finetune):
    """``warnings_of(**adapter)``: what a barely trained teacher with these adapters warns of."""

    def warnings_of(**adapter):
        return tiny_finetune(adapter=AdapterConfig(**adapter), **BARELY).facts.warnings

    return warnings_of


def test_exactly_adapters_and_head_train(tiny_teacher):
    facts = tiny_teacher.facts

    heads = ("bert.pooler.", "classifier.")
    assert all(is_adapter_parameter(n) or n.startswith(heads) for n in facts.trainable_names)
    # Two layers of two adapters: 32 -> 8 -> 32 with biases.
    assert facts.adapter_parameters == 4 * (32 * 8 + 8 + 8 * 32 + 32)
    assert facts.trainable_parameters == facts.adapter_parameters + facts.head_parameters


def test_backbone_is_bit_identical_after_training(tiny_teacher, tiny_backbone, tiny_data):
    labels = tiny_data.facts.labels
    before = load_model(tiny_backbone, OBJECTIVE, labels=labels, seed=0)
    after = load_teacher(tiny_backbone, tiny_teacher.folder)

    assert backbone_digest(after) == backbone_digest(before)
    assert tiny_teacher.facts.backbone_sha256 == backbone_digest(before)


def test_adapters_moved_and_learned(tiny_teacher):
    tensors = load_file(tiny_teacher.folder / "teacher.safetensors")

    assert all(tensor.abs().max() > 0 for name, tensor in tensors.items() if ".up.weight" in name)
    losses = [p.validation["loss"] for p in tiny_teacher.facts.outcome.curve if p.validation]
    assert losses[-1] < losses[0]


def test_teacher_starts_at_the_baselines_head(tiny_finetune, tiny_head_only):
    teacher = tiny_finetune(adapter=AdapterConfig(), **BARELY)

    tensors = load_file(teacher.folder / "teacher.safetensors")
    head = load_file(tiny_head_only.folder / "teacher.safetensors")
    for name, tensor in head.items():
        torch.testing.assert_close(tensors[name], tensor)


def test_teacher_goes_on_from_a_trained_one(tiny_finetune, tiny_teacher):
    tensors = tiny_teacher.folder / "teacher.safetensors"
    start = TeacherStart(folder=tiny_teacher.folder, sha256=sha256_file(tensors))

    teacher = tiny_finetune(adapter=AdapterConfig(bottleneck_size=8), start=start, **BARELY)

    found = load_file(teacher.folder / "teacher.safetensors")
    for name, tensor in load_file(tensors).items():
        torch.testing.assert_close(found[name], tensor)


def test_start_with_other_adapters_is_refused(tiny_finetune, tiny_teacher, tmp_path):
    start = TeacherStart(folder=tiny_teacher.folder, sha256="0" * 64)

    with pytest.raises(InputError, match=r"teacher\.start = .*bottleneck_size=8.* not this run's"):
        tiny_finetune(adapter=AdapterConfig(), start=start, store=Store(root=tmp_path))


def test_dropout_of_the_config_trains(tiny_finetune):
    teacher = tiny_finetune(adapter=AdapterConfig(bottleneck_size=8), epochs=1, dropout=0.5)

    assert teacher.facts.outcome.steps > 0


def test_dropped_layers_have_no_adapters(tiny_finetune, tiny_backbone):
    teacher = tiny_finetune(adapter=AdapterConfig(bottleneck_size=8, drop_layers=1), epochs=1)

    adapters = [name for name in teacher.facts.trainable_names if is_adapter_parameter(name)]
    assert adapters
    assert all(".layer.1." in name for name in adapters)
    load_teacher(tiny_backbone, teacher.folder)  # it is built again alike


def test_random_drop_trains_every_layer(tiny_finetune):
    teacher = tiny_finetune(adapter=AdapterConfig(bottleneck_size=8, random_drop=1))

    tensors = load_file(teacher.folder / "teacher.safetensors")
    assert all(tensor.abs().max() > 0 for name, tensor in tensors.items() if ".up.weight" in name)


@pytest.mark.parametrize("setting", ["drop_layers", "random_drop"])
def test_dropping_every_layer_is_refused(tiny_finetune, setting, tmp_path):
    with pytest.raises(InputError, match=rf"teacher\.adapter\.{setting}: .* at most 1 can be"):
        tiny_finetune(adapter=AdapterConfig(**{setting: 2}), store=Store(root=tmp_path))


def test_usual_adapters_warn_of_nothing(tiny_teacher):
    assert tiny_teacher.facts.warnings == ()


@pytest.mark.parametrize(
    ("adapter", "warning"),
    [
        ({"bottleneck_size": 17}, "bottleneck_size 17 is over half of the hidden size 32"),
        (
            {"bottleneck_size": 8, "initialisation": "small", "scaling": 1e4},
            "initialisation 'small' moves the backbone's outputs",
        ),
    ],
)
def test_common_mistake_is_warned_of(warnings_of, adapter, warning):
    found = warnings_of(**adapter)

    assert len(found) == 1
    assert found[0].startswith(warning)


def test_bottleneck_under_a_64th_is_warned_of(
    tiny_classifier, tiny_checkpoint, tiny_finetune, tmp_path
):
    wide = tmp_path / "wide"
    shutil.copytree(tiny_checkpoint, wide)
    # D = 65 is the smallest hidden size of which one unit is less than a 64th.
    shape = {"hidden_size": 65, "num_attention_heads": 5, "num_hidden_layers": 1, "num_labels": 2}
    tiny_classifier("bert", **shape).save_pretrained(wide)
    checkpoint = find_checkpoint(ModelConfig(model=str(wide)))

    teacher = tiny_finetune(
        adapter=AdapterConfig(bottleneck_size=1), checkpoint=checkpoint, **BARELY
    )

    assert teacher.facts.warnings[0].startswith("bottleneck_size 1 is under 1/64")


def test_unknown_architecture_is_refused_naming_the_known_ones(
    tiny_classifier, tiny_checkpoint, tiny_finetune, tmp_path
):
    folder = tmp_path / "megatron-bert"
    shutil.copytree(tiny_checkpoint, folder)
    tiny_classifier("megatron-bert", num_labels=2).save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["model_type"] == "megatron-bert"
    checkpoint = find_checkpoint(ModelConfig(model=str(folder)))

    with pytest.raises(InputError, match=r"teacher\.model: .*megatron-bert.*bert.*distilbert"):
        tiny_finetune(
            adapter=AdapterConfig(), checkpoint=checkpoint, store=Store(root=tmp_path / "stages")
        )
