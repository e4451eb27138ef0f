import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import DataConfig
from pipeline.config.load import load_config
from pipeline.errors import InputError
from pipeline.stages.data import DataSettings, prepare_data
from pipeline.tasks.question_answering import QUESTION_ANSWERING
from pipeline.texts.tables import read_split

PARAGRAPHS = [
    {
        "context": f" Film {n} was made in 18{n:02}, by Ada. ",
        "qas": [
            {
                "id": f"{n}-when",
                "question": "When?",
                "answers": [{"text": f"18{n:02}", "answer_start": 20 + len(str(n)) - 1}],
            },
            {
                "id": f"{n}-who",
                "question": "Who?",
                "answers": [{"text": "Ada", "answer_start": 29 + len(str(n)) - 1}],
            },
            {"id": f"{n}-why", "question": "Why?", "answers": []},
        ],
    }
    for n in range(20)
]
ROWS = [
    {"question": q["question"], "context": p["context"], "answers": q["answers"]}
    for p in PARAGRAPHS
    for q in p["qas"]
]


def squad(path, paragraphs=PARAGRAPHS, **changes):
    articles = [{"title": "films", "paragraphs": paragraphs}]
    path.write_text(json.dumps({"version": "2", "data": articles} | changes, indent=1))
    return path


def changed(**changes):
    """Return the paragraphs with another first question."""
    first = PARAGRAPHS[0]["qas"][0] | changes
    rest = PARAGRAPHS[0]["qas"][1:]
    return [PARAGRAPHS[0] | {"qas": [first, *rest]}, *PARAGRAPHS[1:]]


@pytest.fixture
def prepare_questions(prepare):
    """``prepare_questions(path, **config)``: facts and splits of a question answering."""

    def prepare_questions(path, **config):
        names = {"text": ("question", "context"), "label": "answers"}
        return prepare(path, task="question-answering", **names | config)

    return prepare_questions


def answers_of(splits):
    return {
        (question, context): [
            context[s:e] for s, e in zip(spans[::2], spans[1::2], strict=True) if s >= 0
        ]
        for split in splits.values()
        for (question, context), spans in zip(split.texts, split.labels.tolist(), strict=True)
    }


def as_jsonl(path):
    path.write_text("\n".join(map(json.dumps, ROWS)))


def as_columns(path):
    rows = [
        row | {"answers": {k: [a[k] for a in row["answers"]] for k in ("text", "answer_start")}}
        for row in ROWS
    ]
    path.write_text("\n".join(map(json.dumps, rows)))


def as_parquet(path):
    answer = pa.struct({"text": pa.list_(pa.string()), "answer_start": pa.list_(pa.int32())})
    columns = [
        {k: [a[k] for a in row["answers"]] for k in ("text", "answer_start")} for row in ROWS
    ]
    texts = {name: [row[name] for row in ROWS] for name in ("question", "context")}
    pq.write_table(pa.table(texts | {"answers": pa.array(columns, answer)}), path)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("train.json", squad),
        ("train.jsonl", as_jsonl),
        ("columns.jsonl", as_columns),
        ("train.parquet", as_parquet),
    ],
)
def test_answers_are_spans_of_their_contexts_in_every_format(
    prepare_questions, tmp_path, name, write
):
    write(tmp_path / name)

    facts, splits = prepare_questions(tmp_path / name)

    found = answers_of(splits)
    assert found == {
        (row["question"], row["context"]): [a["text"] for a in row["answers"]] for row in ROWS
    }
    assert sum(counts["no answer"] for counts in facts.label_counts.values()) == 20
    assert facts.labels == ("start", "end")


def test_no_context_is_in_two_splits(prepare_questions, tmp_path):
    _, splits = prepare_questions(squad(tmp_path / "train.json"), train_size=20)

    contexts = [{context for _, context in split.texts} for split in splits.values()]
    assert all(contexts)
    assert not any(a & b for a in contexts for b in contexts if a is not b)
    assert len(splits["train"]) <= 20


def test_context_of_a_test_file_is_left_out_of_the_others(prepare_questions, tmp_path):
    test = squad(tmp_path / "test.json", [PARAGRAPHS[3] | {"qas": PARAGRAPHS[3]["qas"][:1]}])

    facts, splits = prepare_questions(squad(tmp_path / "train.json"), test=str(test))

    rest = {context for name in ("train", "validation") for _, context in splits[name].texts}
    assert PARAGRAPHS[3]["context"] not in rest
    assert facts.dropped_duplicates == 3


def test_new_questions_on_a_known_context_stay_in_its_split(
    prepare_questions, tmp_path, tmp_path_factory
):
    before = tmp_path_factory.mktemp("before")
    few = [each | {"qas": each["qas"][:1]} for each in PARAGRAPHS]
    config = DataConfig(
        train=str(squad(tmp_path / "few.json", few)), text=("question", "context"), label="answers"
    )
    prepare_data(DataSettings(task=QUESTION_ANSWERING, data=config, sources=(), seed=0), before)

    _, splits = prepare_questions(squad(tmp_path / "train.json"), splits_of=str(before), seed=7)

    for name, split in splits.items():
        earlier = {context for _, context in read_split(before, name).texts}
        assert {context for _, context in split.texts} == earlier


@pytest.mark.parametrize(
    ("paragraphs", "message"),
    [
        (
            changed(answers=[{"text": "1800", "answer_start": 3}]),
            r"row 1 \(0-when\): the answer '1800' is not at its answer_start 3, .* it begins at 20",
        ),
        (changed(answers=[{"text": "1999", "answer_start": 3}]), "the context does not hold it"),
        (changed(answers=["1800"]), r"row 1 \(0-when\), expected answers"),
        (
            changed(is_impossible=True),
            "the question '0-when' has 1 answers, and its is_impossible is true",
        ),
        (changed(question=3), "the column 'question' holds numbers"),
        ([{"context": "x"}], "paragraph 1 of article 1 has no list of questions"),
        ([{"context": "x", "qas": ["?"]}], "has a question that is no object"),
    ],
)
def test_what_is_no_squad_is_refused_with_its_place(
    prepare_questions, tmp_path, paragraphs, message
):
    with pytest.raises(InputError, match=message):
        prepare_questions(squad(tmp_path / "train.json", paragraphs))


def test_column_of_impossible_questions_is_held_against_the_answers(prepare_questions, tmp_path):
    rows = [row | {"is_impossible": not row["answers"]} for row in ROWS]
    path = tmp_path / "train.jsonl"
    names = {"label": ("answers", "is_impossible")}
    path.write_text("\n".join(map(json.dumps, rows)))

    _, splits = prepare_questions(path, **names)
    rows[1]["is_impossible"] = True
    path.write_text("\n".join(map(json.dumps, rows)))

    assert len(answers_of(splits)) == 60
    with pytest.raises(InputError, match="line 2: is_impossible is true, and the question has 1"):
        prepare_questions(path, **names)


@pytest.mark.parametrize(
    "settings",
    [{"text": "question"}, {"labels": ["a", "b"]}, {"label": ["a", "b", "c"]}],
)
def test_config_of_another_shape_is_refused(tmp_path, settings):
    data = {"train": "a.json", "text": ["question", "context"], "label": "answers"} | settings
    lines = [f"{name} = {json.dumps(value)}" for name, value in data.items()]
    path = tmp_path / "config.toml"
    path.write_text(
        'task = "question-answering"\n[teacher]\nmodel = "x"\n[data]\n' + "\n".join(lines)
    )

    with pytest.raises(InputError, match="a question answering has two text columns"):
        load_config(path, [])
