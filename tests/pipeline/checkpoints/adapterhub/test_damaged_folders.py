"""Every damage of an AdapterHub folder ends in one clear error, or does no harm."""

import copy
import json

import pytest
import torch
from support.adapterhub_folders import SEQ_BN, load, tensors_of, write
from support.damage import damages, problems

from models.losses import CLASSIFICATION_OBJECTIVE as OBJECTIVE
from pipeline.checkpoints.adapter_folders import head_labels
from pipeline.checkpoints.adapter_setup import attach_setup, find_setup
from pipeline.checkpoints.adapterhub.head import has_head, load_head, tasks_of_head
from pipeline.standalone.export_adapter import export_adapter
from pipeline.standalone.import_adapter import import_adapter

LABELS = ("negative", "positive")
EVERY_KEY = SEQ_BN | {
    "original_ln_after": True,
    "ln_before": False,
    "ln_after": False,
    "is_parallel": False,
    "scaling": 1.0,
    "use_gating": False,
    "residual_before_ln": True,
    "adapter_residual_before_ln": False,
    "inv_adapter": None,
    "inv_adapter_reduction_factor": None,
    "invertible_adapter": None,
    "cross_adapter": False,
    "leave_out": [],
    "phm_layer": False,
    "phm_dim": 4,
    "phm_rank": 1,
    "dropout": 0.0,
    "reduction_factor": {"default": 8, "1": 8},
}


@pytest.fixture
def attach(tiny_classifier):
    """``attach(folder)``: hang an adapter, and its head if it has one, in a new model."""
    model = tiny_classifier("bert", num_labels=2)

    def attach(folder):
        fresh = copy.deepcopy(model)
        load(folder, fresh)
        if has_head(folder):
            tasks_of_head(folder)
            load_head(folder, fresh)

    return attach


@pytest.mark.parametrize("kind", ["bin", "safetensors"])
def test_damaged_adapter_is_refused_or_harmless(attach, tmp_path, kind):
    folder = write(tmp_path / "adapter", EVERY_KEY, tensors_of(SEQ_BN), safe=kind == "safetensors")

    chosen = damages(folder) if kind == "bin" else of_file(folder, "adapter.safetensors")
    assert problems(folder, tmp_path, attach, chosen=chosen, every=5) == []


def test_damaged_stock_head_is_refused_or_harmless(hub_adapter, attach, tmp_path):
    folder = hub_adapter(tmp_path / "adapter", "task")

    chosen = of_file(folder, "head_config.json", "pytorch_model_head.bin")
    assert problems(folder, tmp_path, attach, chosen=chosen, every=13) == []


def test_damaged_flexible_head_is_refused_or_harmless(hub_adapter, tiny_backbone, attach, tmp_path):
    first, folder = hub_adapter(tmp_path / "adapter", "task"), tmp_path / "exported"
    import_adapter([first], tmp_path / "teacher", backbone=tiny_backbone.reference)
    export_adapter(tmp_path / "teacher", folder)

    chosen = of_file(folder, "head_config.json", "model_head.safetensors")
    assert problems(folder, tmp_path, attach, chosen=chosen, every=13) == []


@pytest.mark.parametrize("kind", ["Average", "Fuse"])
def test_damaged_setup_is_refused_or_harmless(hub_adapter, tiny_backbone, tmp_path, kind):
    def read(folder):
        setup = find_setup([folder])
        attach_setup(setup, tiny_backbone, OBJECTIVE, labels=head_labels(setup.head))

    folder = tmp_path / "setup"
    for name in "ab":
        hub_adapter(folder / name, name, head=name == "a")
    children = [{"type": "single", "children": [name]} for name in "ab"]
    tree = {"type": kind, "children": children, "kwargs": {"weights": [0.5, 0.5]}}
    setup = {"adapter_setup": tree, "head_setup": "a"}
    (folder / "adapter_setup.json").write_text(json.dumps(setup))
    if kind == "Fuse":
        write_fusion(folder / "a,b")

    chosen = of_file(folder, "a,b" if kind == "Fuse" else "adapter_setup.json")
    assert problems(folder, tmp_path, read, chosen=chosen, every=19) == []


def of_file(folder, *names):
    return (each for each in damages(folder) if each[0].startswith(names))


def write_fusion(folder):
    """Write an AdapterFusion over a and b, as the library does."""
    folder.mkdir()
    meta = {"adapter_names": ["a", "b"], "name": "a,b", "model_type": "bert"}
    keys = {"query": True, "key": True, "value": True, "temperature": False}
    (folder / "adapter_fusion_config.json").write_text(json.dumps(meta | {"config": keys}))
    tensors = {}
    for layer in (0, 1):
        prefix = f"bert.encoder.layer.{layer}.output.adapter_fusion_layer.a,b"
        for part in ("query", "key", "value"):
            tensors[f"{prefix}.{part}.weight"] = torch.eye(32)
        for part in ("query", "key"):
            tensors[f"{prefix}.{part}.bias"] = torch.zeros(32)
    torch.save(tensors, folder / "pytorch_model_adapter_fusion.bin")
