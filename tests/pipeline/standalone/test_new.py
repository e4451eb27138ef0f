"""A config for one's own table: it loads and runs unchanged, or one message says what to name."""

import json

import pytest

from pipeline.config.load import load_config
from pipeline.errors import InputError
from pipeline.standalone import new
from pipeline.standalone.new import NewSettings, write_new_config
from pipeline.tasks.all_tasks import TASKS
from pipeline.tasks.columns import Given


@pytest.fixture
def tables(
    tiny_csv, tiny_sets_jsonl, tiny_scores_csv, tiny_tags_conll, tiny_squad_json, tiny_texts_jsonl
):
    """A table for each task, and the columns that must be named."""
    return {
        "classification": (tiny_csv, Given()),
        "multi-label": (tiny_sets_jsonl, Given()),
        "regression": (tiny_scores_csv, Given(text=("first", "second"))),
        "token-classification": (tiny_tags_conll, Given()),
        "question-answering": (tiny_squad_json, Given()),
        "causal-lm": (tiny_texts_jsonl, Given()),
    }


@pytest.fixture
def model_of(tiny_checkpoint, tiny_language_model):
    """``model_of(task)``: a backbone for it."""
    return lambda task: str(tiny_language_model if TASKS[task].continues else tiny_checkpoint)


@pytest.mark.parametrize("task", TASKS)
def test_a_new_config_loads_and_runs_unchanged(
    tables, task, model_of, run_until, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    table, given = tables[task]

    path, assumed = write_new_config(
        NewSettings(source=str(table), task=task, given=given, model=model_of(task))
    )

    config = load_config(path)
    stages = run_until("head-only", config)
    assert config.task == task
    assert sum(stages["data"].facts.sizes.values()) > 100
    assert stages["head-only"].facts.total_parameters > 0
    assert any("max_length" in each for each in assumed)


def test_the_task_is_proposed_where_the_table_fits_one_alone(
    tables, model_of, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    ratings = tmp_path / "ratings.csv"
    rows = "".join(f"the text number {number},{number / 7:.3f}\n" for number in range(60))
    ratings.write_text(f"text,rating\n{rows}")
    tables["regression"] = (ratings, Given())
    for number, (task, (table, given)) in enumerate(tables.items()):
        path, assumed = write_new_config(
            NewSettings(
                source=str(table),
                given=given,
                model=model_of(task),
                out=tmp_path / f"{number}.toml",
            )
        )

        assert load_config(path).task == task
        assert assumed[0] == f"the task is {task}: the table fits no other"


def write_stars(path):
    rows = [{"body": f"text number {n} says it", "stars": str(1 + n % 5)} for n in range(60)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_two_tasks_that_fit_are_both_named(tmp_path):
    table = write_stars(tmp_path / "stars.jsonl")

    with pytest.raises(InputError) as fault:
        write_new_config(NewSettings(source=str(table), out=tmp_path / "new.toml"))

    assert "classification (label 'stars') and regression (label 'stars')" in str(fault.value)
    assert not (tmp_path / "new.toml").exists()


def test_texts_alone_are_for_a_language_model(tiny_language_model, tmp_path):
    texts, out = tmp_path / "texts.txt", tmp_path / "new.toml"
    texts.write_text("\n".join(f"the text {number}" for number in range(40)))

    _, assumed = write_new_config(
        NewSettings(source=str(texts), model=str(tiny_language_model), out=out)
    )

    config = load_config(out)
    assert config.task == "causal-lm"
    assert not config.absorb.add_biases
    assert "the text is in 'text'" in assumed
    assert any("each size in proportion" in each for each in assumed)


def test_a_language_model_is_asked_for_where_none_is_given(tmp_path):
    texts = tmp_path / "texts.csv"
    texts.write_text("\n".join(["text", *(f"the text {number}" for number in range(40))]))

    with pytest.raises(InputError, match=r"needs a decoder, such as SmolLM2. Name one with --mo"):
        write_new_config(NewSettings(source=str(texts), out=tmp_path / "new.toml"))


def test_an_encoder_is_refused_for_texts_alone(tiny_texts_jsonl, tiny_checkpoint, tmp_path):
    settings = NewSettings(
        source=str(tiny_texts_jsonl), model=str(tiny_checkpoint), out=tmp_path / "new.toml"
    )

    with pytest.raises(InputError, match="reads texts and cannot continue them"):
        write_new_config(settings)

    assert not (tmp_path / "new.toml").exists()


def test_a_label_of_texts_alone_is_refused(tiny_csv):
    settings = NewSettings(source=str(tiny_csv), task="causal-lm", given=Given(label=("label",)))

    with pytest.raises(InputError, match="A causal-lm has no labels, found --label label"):
        write_new_config(settings)


def test_a_table_that_fits_no_task_says_why_for_each(tmp_path):
    table = tmp_path / "t.jsonl"
    table.write_text('{"a": "one"}\n{"a": "two"}\n')

    with pytest.raises(InputError, match=r"fits no task for certain:\n  classification: No column"):
        write_new_config(NewSettings(source=str(table)))


def test_an_existing_config_is_kept(tiny_csv, tmp_path):
    out = tmp_path / "mine.toml"
    out.write_text("mine")

    with pytest.raises(InputError, match="exists already"):
        write_new_config(NewSettings(source=str(tiny_csv), out=out))

    assert out.read_text() == "mine"


def test_too_few_texts_are_refused(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("text,label\n" + "".join(f"the text {n},{n % 2}\n" for n in range(12)))

    with pytest.raises(InputError, match="holds 12 texts that differ, expected 20 at least"):
        write_new_config(NewSettings(source=str(table), out=tmp_path / "new.toml"))


def test_without_the_packaged_backbone_lengths_are_estimated(tiny_csv, tmp_path, monkeypatch):
    monkeypatch.setattr(new, "PACKAGED_MODEL", "package://not_installed_here/model")

    path, assumed = write_new_config(NewSettings(source=str(tiny_csv), out=tmp_path / "new.toml"))

    assert load_config(path).teacher.model == new.HUB_MODEL
    assert any("estimated by words" in each for each in assumed)


def test_what_the_reader_refuses_is_refused(tmp_path):
    table = tmp_path / "t.csv"
    rows = "".join(f"the text {n},{'good' if n % 2 else 'bad'}\n" for n in range(40))
    table.write_text(f'text,label\n"a quote that opens,good\n{rows}and closes",bad\n{rows}')

    with pytest.raises(InputError, match="lines between look like rows"):
        write_new_config(NewSettings(source=str(table), out=tmp_path / "new.toml"))
