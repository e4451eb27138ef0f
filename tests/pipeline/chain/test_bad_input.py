"""Bad input of each task ends the chain before anything is trained, with one message."""

import json

import pytest
from support.task_chains import changed

from pipeline.errors import InputError

ROWS = 40


def conll(bad):
    good = "the\tO\nsuperb\tB-praise\n\n"
    return good * 3 + f"{bad}\n\n" + good * ROWS


def jsonl(bad, **good):
    return "\n".join(map(json.dumps, [good, bad, *[good] * ROWS]))


def squad(answer, start):
    context = "the film was superb"
    answers = [{"text": answer, "answer_start": start}]
    question = {"id": "7", "question": "how was it", "answers": answers}
    return json.dumps({"data": [{"paragraphs": [{"context": context, "qas": [question]}]}]})


def scores(bad):
    rows = "".join(f"the text {number},its pair,{number}.5\n" for number in range(ROWS))
    return f"first,second,score\n{rows}another text,its pair,{bad}\n"


CASES = {
    "tags that are no IOB2": (
        "token-classification",
        ("tags.conll", conll("fine\tO\ngood\tI-praise")),
        r"tags\.conll, line 10: the tags are not IOB2. 'I-praise' of word 2",
    ),
    "a tag of no type": (
        "token-classification",
        ("tags.conll", conll("fine\tO\ngood\tB-weather")),
        r"holds 'B-weather', which is not in data\.labels .*tags\.conll, line 10",
    ),
    "tokens and tags of unlike length": (
        "token-classification",
        ("tags.jsonl", jsonl({"tokens": ["a", "b"], "tags": ["O"]}, tokens=["a"], tags=["O"])),
        r"tags\.jsonl, line 2: expected a tag for each word, found 1 tags for 2 words",
    ),
    "an answer that is not at its offset": (
        "question-answering",
        ("squad.json", squad("superb", 3)),
        r"squad\.json, .*the answer 'superb' is not at its answer_start 3, .* it begins at 13",
    ),
    "an answer that the context does not hold": (
        "question-answering",
        ("squad.json", squad("dull", 13)),
        r"squad\.json, .*the context does not hold it",
    ),
    "a label that is no number": (
        "regression",
        ("scores.csv", scores("good")),
        r"holds 'good', which is no finite number .*scores\.csv, line 42",
    ),
    "a label that is not finite": (
        "regression",
        ("scores.csv", scores("inf")),
        r"holds 'inf', which is no finite number .*scores\.csv, line 42",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_texts_are_refused_with_their_place(case, task_config, run_until, tmp_path):
    task, (name, content), said = CASES[case]
    source = tmp_path / name
    source.write_text(content, encoding="utf-8")

    fault = refused(run_until, "data", changed(task_config(task), "data", train=str(source)))

    assert_one_message(fault, said)


OTHER_LABELS = {
    "classification": ("test.csv", "text,label\nthe film,dreary\n"),
    "multi-label": ("test.jsonl", jsonl({"text": "a b", "labels": ["dreary"]}, text="a")),
    "token-classification": ("test.conll", conll("fine\tB-dreary")),
}


@pytest.mark.parametrize("task", OTHER_LABELS)
def test_label_list_that_differs_between_files_is_refused(task, task_config, run_until, tmp_path):
    name, content = OTHER_LABELS[task]
    source = tmp_path / name
    source.write_text(content, encoding="utf-8")

    fault = refused(run_until, "data", changed(task_config(task), "data", test=str(source)))

    assert_one_message(fault, f"dreary.*{name}, line")


@pytest.mark.parametrize("task", ["classification", "multi-label", "regression"])
def test_text_longer_than_the_positions_is_refused(task, task_config, run_until):
    config = changed(task_config(task), "data", max_length=1000)

    assert_one_message(
        refused(run_until, "head-only", config),
        r"data\.max_length = 1000, but the model .* takes at most \d+ tokens",
    )


def test_encoder_is_refused_for_a_language_model(task_config, run_until, tiny_checkpoint):
    config = changed(task_config("causal-lm"), "teacher", model=str(tiny_checkpoint))

    assert_one_message(
        refused(run_until, "head-only", config), r"of the type bert, .* cannot continue them"
    )


@pytest.mark.parametrize(
    ("task", "other"), [("classification", "causal-lm"), ("causal-lm", "classification")]
)
def test_teacher_of_a_language_model_and_of_a_sequence_task_are_no_teachers_of_one_another(
    task, other, task_config, run_until, tiny_language_model
):
    """Both on the same decoder, so that the backbone fits."""
    quick = ("finetune.epochs=0.1", f"teacher.model={tiny_language_model}")
    teacher = run_until("finetune", task_config(other, *quick))["finetune"]
    config = task_config(task, *quick, f'teacher.adapter={{from = "{teacher.folder}"}}')

    fault = refused(run_until, "import", config)

    assert_one_message(fault, f"trained for {other}, and this run's task is {task}")


def refused(run_until, stage, config):
    with pytest.raises(InputError) as fault:
        run_until(stage, config)
    return fault


def assert_one_message(fault, said):
    fault.match(said)
    assert "\n" not in str(fault.value)
    assert str(fault.value).endswith(".")
