import json

import pytest
import torch

from models.adapters.composition import Average, Fuse, Stack
from models.adapters.hooks import set_active
from models.architectures.table import architecture_of
from models.losses import CLASSIFICATION_OBJECTIVE as OBJECTIVE
from pipeline.checkpoints.adapterhub.head import load_head
from pipeline.checkpoints.adapterhub.reading import load_adapter, read_adapter
from pipeline.checkpoints.teachers import load_teacher, read_teacher
from pipeline.checkpoints.weights import load_model
from pipeline.errors import InputError
from pipeline.standalone.import_adapter import import_adapter

LABELS = ("negative", "positive")


def random(*shape, seed):
    return 0.3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def fusion_folder(folder):
    folder.mkdir()
    meta = {"adapter_names": ["a", "b"], "config": {}, "name": "a,b", "model_type": "bert"}
    (folder / "adapter_fusion_config.json").write_text(json.dumps(meta))
    tensors = {}
    for layer in (0, 1):
        prefix = f"bert.encoder.layer.{layer}.output.adapter_fusion_layer.a,b"
        for part in ("query", "key", "value"):
            tensors[f"{prefix}.{part}.weight"] = random(32, 32, seed=layer)
        for part in ("query", "key"):
            tensors[f"{prefix}.{part}.bias"] = random(32, seed=layer + 1)
    torch.save(tensors, folder / "pytorch_model_adapter_fusion.bin")
    return folder


@torch.no_grad()
def test_imported_teacher_has_the_logits_of_adapter_and_head(
    hub_adapter, tiny_backbone, tmp_path, token_batch
):
    folder = hub_adapter(tmp_path / "adapter", "task")
    expected = load_model(tiny_backbone, OBJECTIVE, labels=LABELS, seed=0)
    load_adapter(read_adapter(folder, expected), expected, architecture_of("bert"), name="task")
    load_head(folder, expected)
    set_active(expected, "task")

    description = import_adapter(
        [folder], tmp_path / "teacher", backbone=tiny_backbone.reference, max_length=16
    )

    found = load_teacher(tiny_backbone, tmp_path / "teacher")
    batch = token_batch(found, (9, 5))
    assert torch.equal(found(**batch).logits, expected(**batch).logits)
    assert (description.labels, description.max_length) == (LABELS, 16)
    assert description.backbone_digest == tiny_backbone.digest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "teacher"]


@pytest.mark.parametrize(
    ("together", "active"), [("stack", Stack(("a", "b"))), ("average", Average(("a", "b")))]
)
def test_several_adapters_work_together_as_told(
    hub_adapter, tiny_backbone, tmp_path, together, active
):
    folders = [
        hub_adapter(tmp_path / "a", "a"),
        hub_adapter(tmp_path / "b", "b", head=False, seed=50),
    ]

    import_adapter(
        folders, tmp_path / "teacher", backbone=tiny_backbone.reference, together=together
    )

    assert read_teacher(tmp_path / "teacher").adapter.active == active
    teacher = load_teacher(tiny_backbone, tmp_path / "teacher")
    assert teacher.bert.encoder.layer[0].output.dense.adapter.active == active


@torch.no_grad()
def test_fused_adapters_are_imported_with_their_fusion(hub_adapter, tiny_backbone, tmp_path):
    folders = [
        hub_adapter(tmp_path / "a", "a"),
        hub_adapter(tmp_path / "b", "b", head=False, seed=50),
    ]

    import_adapter(
        folders,
        tmp_path / "teacher",
        backbone=tiny_backbone.reference,
        fusion=fusion_folder(tmp_path / "fusion"),
    )

    teacher = load_teacher(tiny_backbone, tmp_path / "teacher")
    site = teacher.bert.encoder.layer[1].output.dense.adapter
    assert site.active == Fuse(("a", "b"))
    assert torch.equal(site.fusions["a,b"].value.weight, random(32, 32, seed=1))


def test_one_of_several_has_the_head(hub_adapter, tiny_backbone, tmp_path):
    without = hub_adapter(tmp_path / "a", "a", head=False)
    both = [hub_adapter(tmp_path / "b", "b"), hub_adapter(tmp_path / "c", "c")]

    for folders, count in (([without], 0), (both, 2)):
        with pytest.raises(InputError, match=f"found {count} among"):
            import_adapter(
                folders,
                tmp_path / "teacher",
                backbone=tiny_backbone.reference,
                together="stack" if count else None,
            )


def test_several_adapters_without_a_word_on_how_are_refused(hub_adapter, tiny_backbone, tmp_path):
    folders = [hub_adapter(tmp_path / "a", "a"), hub_adapter(tmp_path / "b", "b", head=False)]

    with pytest.raises(InputError, match="2 adapters need a composition"):
        import_adapter(folders, tmp_path / "teacher", backbone=tiny_backbone.reference)


def test_adapters_of_one_name_are_refused(hub_adapter, tiny_backbone, tmp_path):
    folders = [hub_adapter(tmp_path / "a", "task"), hub_adapter(tmp_path / "b", "task", head=False)]

    with pytest.raises(InputError, match="adapters of one name, 'task'"):
        import_adapter(
            folders, tmp_path / "teacher", backbone=tiny_backbone.reference, together="stack"
        )


def test_folder_that_exists_is_left_alone(hub_adapter, tiny_backbone, tmp_path):
    (tmp_path / "teacher").mkdir()

    with pytest.raises(InputError, match="exists already"):
        import_adapter(
            [hub_adapter(tmp_path / "a", "a")],
            tmp_path / "teacher",
            backbone=tiny_backbone.reference,
        )


def test_nothing_is_left_of_an_import_that_fails(hub_adapter, tiny_backbone, tmp_path):
    folder = hub_adapter(tmp_path / "a", "a")
    (folder / "pytorch_adapter.bin").unlink()

    with pytest.raises(InputError, match="has no tensors"):
        import_adapter([folder], tmp_path / "teacher", backbone=tiny_backbone.reference)

    assert [path.name for path in tmp_path.iterdir()] == ["a"]
