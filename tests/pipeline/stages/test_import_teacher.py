from dataclasses import replace

import pytest

from models.adapters.composition import Average, Stack
from pipeline.checkpoints.adapter_folders import adapters_digest
from pipeline.checkpoints.teachers import load_teacher, read_teacher
from pipeline.config import AdapterSource
from pipeline.errors import InputError
from pipeline.stages.import_teacher import ImportSettings, import_teacher
from pipeline.standalone.export_adapter import export_adapter
from pipeline.standalone.import_adapter import import_adapter
from pipeline.tasks.regression import REGRESSION


@pytest.fixture
def bring(tiny_data, tiny_context, tmp_path):
    """``bring(reference, context=..., data=..., **source)``: facts; it is in tmp_path/out."""

    def bring(reference, context=tiny_context, data=tiny_data, **rest):
        (tmp_path / "out").mkdir()
        source = AdapterSource.model_validate({"from": reference, **rest})
        settings = ImportSettings(context=context, source=source, files=adapters_digest(source))
        return import_teacher(data, settings, tmp_path / "out")

    return bring


def test_imported_teacher_is_as_good_as_it_was(bring, tiny_teacher, tmp_path):
    export_adapter(tiny_teacher.folder, tmp_path / "hub")

    facts = bring(str(tmp_path / "hub"))

    assert facts.outcome.steps == 0
    assert facts.outcome.best_metric == tiny_teacher.facts.outcome.best_metric
    assert facts.adapter_parameters == tiny_teacher.facts.adapter_parameters
    assert facts.backbone_sha256 == tiny_teacher.facts.backbone_sha256
    assert read_teacher(tmp_path / "out").labels == ("negative", "positive")


def test_several_are_composed(bring, hub_adapter, tmp_path):
    folders = [
        hub_adapter(tmp_path / name, name, head=name == "a", seed=seed)
        for seed, name in enumerate("ab")
    ]

    bring([str(folder) for folder in folders], together="stack")

    assert read_teacher(tmp_path / "out").adapter.active.children == ("a", "b")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"positive": 0, "negative": 1}, "Put data.labels in the head's order"),
        ({"bad": 0, "good": 1}, r"has the labels \['bad', 'good'\], but data.labels is"),
    ],
)
def test_labels_that_are_not_the_datas_are_refused(bring, hub_adapter, tmp_path, labels, message):
    folder = hub_adapter(tmp_path / "a", "a")
    head = folder / "head_config.json"
    head.write_text(f'{{"config": null, "label2id": {labels}}}'.replace("'", '"'))

    with pytest.raises(InputError, match=message):
        bring(str(folder))


def test_more_labels_than_the_head_has_are_refused(bring, hub_adapter, tiny_data, tmp_path):
    facts = replace(tiny_data.facts, labels=("negative", "neutral", "positive"))
    folder = hub_adapter(tmp_path / "a", "a")

    with pytest.raises(InputError, match=r"has the labels \['negative', 'positive'\], but data.l"):
        bring(str(folder), data=replace(tiny_data, facts=facts))


def test_labels_without_names_are_those_of_the_data(bring, hub_adapter, tmp_path):
    folder = hub_adapter(tmp_path / "a", "a")
    head = folder / "head_config.json"
    head.write_text('{"config": null, "label2id": {"LABEL_0": 0, "LABEL_1": 1}}')

    bring(str(folder))

    assert read_teacher(tmp_path / "out").labels == ("negative", "positive")


def test_teacher_of_an_earlier_run_is_taken_over(bring, tiny_teacher, tmp_path):
    facts = bring(str(tiny_teacher.folder))

    assert facts.outcome.best_metric == tiny_teacher.facts.outcome.best_metric
    assert read_teacher(tmp_path / "out").adapter.active == "task"


def test_composed_teacher_is_taken_over_whole(bring, hub_adapter, tiny_backbone, tmp_path):
    folders = [hub_adapter(tmp_path / name, name, head=name == "a") for name in "ab"]
    import_adapter(
        folders, tmp_path / "composed", backbone=tiny_backbone.reference, together="average"
    )

    bring(str(tmp_path / "composed"))

    assert read_teacher(tmp_path / "out").adapter.active == Average(("a", "b"))


def test_teachers_and_checkpoints_are_composed_by_name(bring, hub_adapter, tiny_teacher, tmp_path):
    hub = hub_adapter(tmp_path / "language", "en", head=False)

    bring({"english": str(hub), "reviews": str(tiny_teacher.folder)}, together="stack")

    adapter = read_teacher(tmp_path / "out").adapter
    assert adapter.active == Stack(("english", "reviews"))
    assert [settings.attention for settings in adapter.adapters.values()] == [False, True]


def test_adapters_of_lower_layers_can_be_left_out(bring, tiny_teacher, tiny_backbone, tmp_path):
    facts = bring(str(tiny_teacher.folder), drop_layers=1)

    load_teacher(tiny_backbone, tmp_path / "out")  # it is built again alike
    assert facts.adapter_parameters == tiny_teacher.facts.adapter_parameters / 2
    assert read_teacher(tmp_path / "out").adapter.adapters["task"].without == (0,)


def test_leaving_out_all_adapters_is_refused(bring, tiny_teacher):
    with pytest.raises(InputError, match=r"teacher\.adapter\.drop_layers: .*found 2"):
        bring(str(tiny_teacher.folder), drop_layers=2)


def test_teacher_of_another_task_is_refused(bring, tiny_teacher, tiny_context):
    other = replace(tiny_context, task=REGRESSION)

    with pytest.raises(InputError, match=r"trained for classification, and .* task is regression"):
        bring(str(tiny_teacher.folder), context=other)


def test_baseline_has_nothing_to_import(bring, tiny_head_only):
    with pytest.raises(InputError, match="has no adapters"):
        bring(str(tiny_head_only.folder))
