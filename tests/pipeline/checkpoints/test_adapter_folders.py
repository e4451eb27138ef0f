import json

import pytest
from safetensors.torch import load_file, save_file

from models.losses import CLASSIFICATION_OBJECTIVE as OBJECTIVE
from pipeline.checkpoints.adapter_folders import (
    adapters_digest,
    attach_adapter,
    check_source,
    find_head,
    name_adapters,
)
from pipeline.checkpoints.teachers import TEACHER_FACTS, TEACHER_TENSORS
from pipeline.checkpoints.weights import load_model
from pipeline.config import AdapterSource
from pipeline.errors import InputError
from pipeline.standalone.import_adapter import import_adapter

LABELS = ("negative", "positive")


@pytest.fixture
def composed(hub_adapter, tiny_backbone, tmp_path):
    """A teacher with a stack of two adapters."""
    folders = [hub_adapter(tmp_path / name, name, head=name == "a") for name in "ab"]
    out = tmp_path / "composed"
    import_adapter(folders, out, backbone=tiny_backbone.reference, together="stack")
    return out


def test_own_teachers_are_named_by_their_places(tiny_teacher, hub_adapter, tmp_path):
    hub = hub_adapter(tmp_path / "a", "language")

    assert list(name_adapters([tiny_teacher.folder])) == ["task"]
    assert list(name_adapters([tiny_teacher.folder, hub])) == ["task1", "language"]


def test_names_are_the_users_where_they_are_given(tiny_teacher, hub_adapter, tmp_path):
    hub = hub_adapter(tmp_path / "a", "language")

    named = name_adapters([tiny_teacher.folder, hub], ["reviews", "english"])

    assert named == {"reviews": tiny_teacher.folder, "english": hub}


def test_two_of_one_name_are_refused_with_the_way_out(hub_adapter, tmp_path):
    folders = [hub_adapter(tmp_path / place, "task") for place in "ab"]

    with pytest.raises(InputError, match=r"one name, 'task'.*from = \{ first ="):
        name_adapters(folders)


@pytest.mark.parametrize("name", ["a.b", "a,b", "../a", ""])
def test_what_cannot_be_a_name_is_refused(tiny_teacher, name):
    with pytest.raises(InputError, match="cannot be the name of an adapter"):
        name_adapters([tiny_teacher.folder], [name])


def test_head_is_the_one_with_the_labels_that_are_meant(hub_adapter, tmp_path):
    first, second = (hub_adapter(tmp_path / name, name) for name in "ab")
    config = second / "head_config.json"
    config.write_text('{"config": null, "label2id": {"bad": 0, "good": 1}}')

    assert find_head([first, second], LABELS) == first
    assert find_head([first, second], ("bad", "good")) == second
    with pytest.raises(InputError, match=r"found 2 among .*let a run train one head"):
        find_head([first, second], None)


def test_teacher_with_a_composition_is_refused_where_one_adapter_is_expected(composed):
    with pytest.raises(InputError, match=r"has 2 adapters \(a, b\), and one is expected here"):
        name_adapters([composed, composed])


def test_tensors_that_are_not_the_described_adapters_are_refused(
    tiny_teacher, tiny_backbone, tmp_path
):
    (tmp_path / TEACHER_FACTS).write_bytes((tiny_teacher.folder / TEACHER_FACTS).read_bytes())
    tensors = load_file(tiny_teacher.folder / TEACHER_TENSORS)
    tensors.pop(next(name for name in tensors if name.endswith("up.weight")))
    save_file(tensors, tmp_path / TEACHER_TENSORS)
    model = load_model(tiny_backbone, OBJECTIVE, labels=LABELS, seed=0)

    with pytest.raises(InputError, match="does not hold the adapter that"):
        attach_adapter(tmp_path, "a", model, tiny_backbone)


@pytest.mark.parametrize(
    "table",
    [
        {"from": ["{hub}", "./nowhere"], "together": "fuse"},
        {"from": "{hub}", "fusion": "./nowhere"},
        {"from": ["{hub}", "{hub}"], "together": "stack"},
    ],
)
def test_source_that_cannot_be_found_or_named_is_refused(hub_adapter, tmp_path, table):
    folder = str(hub_adapter(tmp_path / "a", "a"))
    filled = json.loads(json.dumps(table).replace("{hub}", folder))

    with pytest.raises(InputError, match=r"(does not exist|of one name)"):
        check_source(AdapterSource.model_validate(filled))


def test_digest_changes_with_any_file_and_with_the_names(hub_adapter, tiny_teacher, tmp_path):
    folder = hub_adapter(tmp_path / "a", "a")

    def digest(references):
        source = {"from": references, "together": "stack"}
        return adapters_digest(AdapterSource.model_validate(source))

    named = {"a": str(folder), "b": str(tiny_teacher.folder)}
    digests = [digest(list(named.values())), digest(named), digest({"b": named["b"], **named})]
    head = folder / "head_config.json"
    head.write_text(head.read_text() + "\n")
    digests.append(digest(named))

    assert len(set(digests)) == 4
