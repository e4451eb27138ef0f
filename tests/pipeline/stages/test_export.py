import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from pipeline.checkpoints.pretrained import find_checkpoint
from pipeline.checkpoints.teachers import load_teacher
from pipeline.config import AdapterConfig, ExportConfig, ModelConfig
from pipeline.errors import InputError
from pipeline.facts.export import ExportFacts
from pipeline.stages.export import ExportSettings, export
from pipeline.store.stage import Stage
from pipeline.store.step import step
from pipeline.store.store import Store

ARMS = ["plain", "teacher", "student"]


@pytest.fixture(params=ARMS)
def graph_path(request, tiny_export):
    return tiny_export.folder / request.param / "onnx" / "model.onnx"


@pytest.fixture(scope="module")
def run_export(tiny_store, tiny_data, tiny_head_only, tiny_teacher, tiny_student, tiny_context):
    """``run_export(store=..., **inputs)``: a stage; what is not given is the tiny models'."""

    def run_export(
        *,
        plain=tiny_head_only,
        teacher=tiny_teacher,
        student=tiny_student,
        checkpoint=tiny_context.backbone,
        store=tiny_store,
        **config,
    ):
        settings = ExportSettings(
            context=replace(tiny_context, backbone=checkpoint), export=ExportConfig(**config)
        )
        return store.ensure(
            step(
                "export",
                export,
                tiny_data,
                plain,
                teacher,
                student,
                settings=settings,
                facts=ExportFacts,
            )
        )

    return run_export


@pytest.fixture(scope="module")
def distilbert(tiny_classifier, tiny_checkpoint, tmp_path_factory):
    """A one-layer DistilBERT with `tiny_checkpoint`'s tokenizer."""
    folder = tmp_path_factory.mktemp("distilbert") / "model"
    shutil.copytree(tiny_checkpoint, folder)
    tiny_classifier("distilbert", num_hidden_layers=1, num_labels=2).save_pretrained(folder)
    return find_checkpoint(ModelConfig(model=str(folder)))


@pytest.fixture(scope="module")
def distilbert_export(run_export, tiny_finetune, distilbert):
    """DistilBERT with Pfeiffer and with parallel adapters, and as a student."""
    pfeiffer, parallel = (
        tiny_finetune(adapter=AdapterConfig(kind=kind), checkpoint=distilbert, epochs=1)
        for kind in ("pfeiffer", "parallel")
    )
    student = Stage(
        name="distill",
        folder=distilbert.folder,
        digest=distilbert.digest,
        facts=None,
        artifacts=(),
        seconds=0.0,
        reused=False,
    )
    return run_export(plain=pfeiffer, teacher=parallel, student=student, checkpoint=distilbert)


def test_inputs_are_named_and_share_their_dynamic_axes(graph_path):
    graph = onnx.load(graph_path).graph

    axes = {
        each.name: [dimension.dim_param for dimension in each.type.tensor_type.shape.dim]
        for each in graph.input
    }
    names = ("input_ids", "attention_mask", "token_type_ids")
    assert axes == {name: ["batch", "sequence"] for name in names}
    assert [each.name for each in graph.output] == ["logits"]


def test_graph_holds_no_dropout(graph_path):
    assert "Dropout" not in {node.op_type for node in onnx.load(graph_path).graph.node}


def test_file_names_no_path_of_the_machine_that_made_it(graph_path):
    content = graph_path.read_bytes()

    for path in (Path.cwd(), Path.home(), Path(torch.__file__).parent):
        assert str(path).encode() not in content
    assert b"site-packages" not in content


def test_opset_is_the_configs(tiny_export, graph_path):
    (opset,) = [each.version for each in onnx.load(graph_path).opset_import if not each.domain]

    assert opset == tiny_export.facts.opset == ExportConfig().opset


def test_onnx_equals_torch_at_a_shape_that_was_not_compared(
    tiny_export, tiny_backbone, tiny_teacher, token_batch
):
    teacher = load_teacher(tiny_backbone, tiny_teacher.folder)
    batch = token_batch(teacher, (3, 11, 13))
    batch["token_type_ids"] = torch.zeros_like(batch["input_ids"])
    session = ort.InferenceSession(tiny_export.folder / "teacher" / "onnx" / "model.onnx")

    (found,) = session.run(None, {name: tensor.numpy() for name, tensor in batch.items()})

    with torch.inference_mode():
        np.testing.assert_allclose(found, teacher(**batch).logits.numpy(), atol=1e-4)


def test_every_model_is_compared_at_every_shape_and_mask(tiny_export):
    found = {(p.model, p.batch, p.length, p.mask) for p in tiny_export.facts.parity}

    # Lengths above max_length = 16 are compared at it.
    shapes = [(1, 1), (1, 7), (2, 16), (5, 16), (1, 16)]
    masks = ["full", "right", "left", "hole"]
    assert found == {(arm, *shape, mask) for arm in ARMS for shape in shapes for mask in masks}


def test_graph_that_differs_from_torch_is_refused(run_export, tmp_path):
    with pytest.raises(InputError, match=r"ONNX file of the plain differs from torch by .* mask"):
        run_export(parity_tolerance=1e-30, store=Store(root=tmp_path))


@pytest.mark.slow  # test_trace.py has other architectures and adapters
@pytest.mark.parametrize("arm", ARMS)
def test_distilbert_and_the_other_adapters_export(distilbert_export, arm):
    parity = [p for p in distilbert_export.facts.parity if p.model == arm]
    graph = onnx.load(distilbert_export.folder / arm / "onnx" / "model.onnx").graph

    assert len(parity) == 20
    assert all(p.max_abs_difference <= p.tolerance for p in parity)
    assert [each.name for each in graph.input] == ["input_ids", "attention_mask"]


def test_bundles_are_whole(tiny_export):
    names = {entry.path for entry in tiny_export.artifacts}

    parts = ("config.json", "tokenizer.json", "tokenizer_config.json", "onnx/model.onnx")
    assert {f"{arm}/{part}" for arm in ARMS for part in parts} <= names
    assert "student/model.safetensors" in names
    assert "student/record.json" not in names
