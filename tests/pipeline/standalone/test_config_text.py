import tomllib

import pytest

from pipeline.facts.data import DataFacts
from pipeline.standalone.config_text import Draft, Lengths, config_text, slug
from pipeline.tasks.all_tasks import find_task
from pipeline.tasks.columns import Proposal


def draft(*, train=800, tokens=(10,) * 99 + (300,), longest=512, labels=("a", "b"), **more):
    sizes = {"train": train, "validation": 90, "test": 100}
    facts = DataFacts(
        digest="",
        texts_digest="",
        labels=labels,
        text_columns=("text",),
        sizes=sizes,
        label_counts={split: dict.fromkeys(labels, size // 2) for split, size in sizes.items()},
        dropped_duplicates=0,
        conflicting_labels=0,
        dropped_empty=0,
    )
    return Draft(
        name="mine",
        task=find_task("classification"),
        source=more.get("source", "my-data.csv"),
        proposal=Proposal(
            text=("text",), label=more.get("label", ("label",)), labels=labels, assumed=("x\ny",)
        ),
        model="m",
        sizes={"validation": 0.1, "test": 0.1},
        facts=facts,
        lengths=Lengths(tokens=list(tokens), longest=longest),
        assumed=(),
    )


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("My Data_v2", "my-data-v2"),
        ("été", "t"),
        ("日本", "student"),
        ("-x" * 60, ("x-" * 32)[:63]),
    ],
)
def test_a_student_is_named_like_the_file(stem, name):
    assert slug(stem) == name


def test_any_name_survives_in_the_text():
    strange = (
        'quote" and \\ back',
        "line\nend",
        "tab\t",
        "\x7f",
        "żółć",
        "# no comment",
        "b\u2028",
    )

    tree = tomllib.loads(config_text(draft(labels=strange, source='a "b".csv')))

    assert tree["data"]["labels"] == list(strange)
    assert tree["data"]["train"] == 'a "b".csv'


def test_a_task_without_labels_names_no_column_of_them():
    data = tomllib.loads(config_text(draft(label=(), labels=())))["data"]

    assert data["text"] == "text"
    assert not {"label", "labels"} & set(data)


@pytest.mark.parametrize(
    ("tokens", "longest", "limit"),
    [
        ([10] * 100, 512, 16),
        ([40] * 100, 512, 40),
        ([41] * 100, 512, 48),
        ([10] * 100 + [300], 512, 16),
        ([900] * 100, 512, 512),
        ([900] * 100, 64, 64),
        ([3], 8, 8),
    ],
)
def test_the_longest_input_holds_nearly_all_texts_that_the_model_can_read(tokens, longest, limit):
    assert Lengths(tokens=tokens, longest=longest).limit == limit


def test_texts_that_are_cut_are_counted():
    said = Lengths(tokens=[10] * 90 + [900] * 10, longest=512).said()

    assert "(half of them up to 10)" in said
    assert "max_length = 512 cuts 10 of 100" in said


@pytest.mark.parametrize(("train", "epochs"), [(100, 10), (7_000, 4), (30_000, 1), (10**6, 1)])
def test_few_texts_are_seen_more_often(train, epochs):
    assert draft(train=train).epochs == epochs


@pytest.mark.parametrize(("length", "size"), [(64, 32), (200, 16), (500, 8)])
def test_long_texts_come_in_smaller_batches(length, size):
    assert draft(tokens=(length,) * 100).batch_size == size
