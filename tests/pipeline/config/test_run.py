import pytest
from pydantic import ValidationError

from pipeline.config import DataConfig, ModelConfig, RunConfig, StudentConfig, TeacherConfig


def test_layers_and_another_model_exclude_each_other():
    with pytest.raises(ValidationError, match="exclude each other"):
        StudentConfig(layers=(0,), model=ModelConfig(model="m"))


@pytest.mark.parametrize("layers", [(2, 1), (1, 1), (), (-1, 0)])
def test_layers_are_increasing_indices_and_at_least_one(layers):
    with pytest.raises(ValidationError, match="layers"):
        StudentConfig(layers=layers)


def test_sentence_pairs_have_two_text_columns():
    config = DataConfig(train="t.csv", labels=("a", "b"), text=("premise", "hypothesis"))

    assert config.text_columns == ("premise", "hypothesis")


@pytest.mark.parametrize(("size", "kind"), [(1, int), (100, int), (0.25, float)])
def test_split_size_is_a_number_of_texts_or_a_part(size, kind):
    config = DataConfig(train="t.csv", labels=("a", "b"), test_size=size)

    assert config.test_size == size
    assert type(config.test_size) is kind


@pytest.mark.parametrize("size", [0, -1, 0.0, 1.5])
def test_split_size_out_of_range_is_refused(size):
    with pytest.raises(ValidationError, match="test_size"):
        DataConfig(train="t.csv", labels=("a", "b"), test_size=size)


def test_schema_describes_every_field():
    schema = RunConfig.model_json_schema()

    for section in (schema, *schema["$defs"].values()):
        for name, field in section["properties"].items():
            assert field.get("description") or "$ref" in field, name


def test_adapters_come_from_elsewhere_with_the_key_from():
    table = {"model": "m", "adapter": {"from": ["a", "b"], "together": "stack"}}

    config = TeacherConfig.model_validate(table)

    assert config.adapter.references == ("a", "b")
    assert config.model_dump(mode="json")["adapter"]["from"] == ["a", "b"]
    assert TeacherConfig.model_validate_json(config.model_dump_json()) == config


def test_schema_offers_trained_and_imported_adapters():
    schema = RunConfig.model_json_schema()

    choice = schema["$defs"]["TeacherConfig"]["properties"]["adapter"]
    assert [each["$ref"] for each in choice["anyOf"]] == [
        "#/$defs/AdapterConfig",
        "#/$defs/AdapterSource",
    ]
    assert "from" in schema["$defs"]["AdapterSource"]["properties"]


def run_config(task, **data):
    data = {"train": "t.csv"} | data
    return RunConfig.model_validate({"task": task, "data": data, "teacher": {"model": "m"}})


def test_several_label_columns_name_the_labels():
    config = run_config("multi-label", label=["joy", "anger"])

    assert config.data.label_columns == ("joy", "anger")
    assert config.data.labels == ()


@pytest.mark.parametrize(
    ("task", "data", "problem"),
    [
        ("classification", {"label": ["a", "b"]}, "a classification has one label column"),
        ("regression", {"label": ["a", "b"]}, "a regression has one label column"),
        ("multi-label", {"label": ["a", "b"], "labels": ["b", "a"]}, "name the labels themselves"),
        ("multi-label", {"label": ["a", "a"]}, "several distinct names"),
        ("multi-label", {"label": ["a"]}, "several distinct names"),
        ("multi-label", {}, "at least two label names, found 0"),
        ("multi-label", {"labels": ["a"]}, "at least two label names, found 1"),
    ],
)
def test_labels_that_do_not_fit_the_task_are_refused(task, data, problem):
    with pytest.raises(ValidationError, match=problem):
        run_config(task, **data)
