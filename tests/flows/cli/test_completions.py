import json

import pytest
from typer.testing import CliRunner

from adapter_distill import load
from flows.cli.main import app
from pipeline.errors import InputError
from pipeline.inference.generation import Limits
from pipeline.standalone.predict import predict

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def language(write_language_bundle, tmp_path_factory):
    return write_language_bundle(tmp_path_factory.mktemp("language") / "student")


def test_text_is_printed_with_its_completion(language):
    texts = ["the film", "music"]

    found = RUNNER.invoke(app, ["predict", str(language), *texts, "--max-tokens", "7"])

    answers = predict(language, texts, limits=Limits(tokens=7))
    expected = "".join(f"{t}{a['completion']}\n" for t, a in zip(texts, answers, strict=True))
    assert found.output == expected


def test_json_has_the_whole_answer(language):
    arguments = ["--json", "--max-tokens", "5", "--temperature", "1.5", "--seed", "3"]

    found = RUNNER.invoke(app, ["predict", str(language), "the film", *arguments])

    limits = Limits(tokens=5, temperature=1.5, seed=3)
    (answer,) = predict(language, ["the film"], limits=limits)
    assert json.loads(found.output) == {"text": "the film", **answer}


def test_limits_are_refused_for_other_students(write_bundle, tmp_path):
    bundle = write_bundle(tmp_path / "student", vocab_size=100)

    found = RUNNER.invoke(app, ["predict", str(bundle), "good film", "--max-tokens", "5"])

    assert "tokens: limits of completions are for language models" in str(found.exception)


def test_pair_is_refused(language):
    found = RUNNER.invoke(app, ["predict", str(language), "--pairs", "the", "film"])

    assert "takes single texts, found a pair" in str(found.exception)


def test_python_gives_the_same_text_piece_by_piece(language):
    model = load(language)

    pieces = list(model.stream("the film", tokens=7, temperature=1.5, seed=3))

    (answer,) = model.answer(["the film"], tokens=7, temperature=1.5, seed=3).answers
    assert "".join(pieces) == answer["completion"]
    assert len(pieces) > 1


def test_python_refuses_to_stream_what_does_not_continue_texts(write_bundle, tmp_path):
    model = load(write_bundle(tmp_path / "student", vocab_size=100))

    with pytest.raises(InputError, match="does not continue texts"):
        model.stream("good film")


@pytest.mark.parametrize(
    "limits", [{"tokens": 0}, {"temperature": -0.1}, {"temperature": float("nan")}, {"seed": -1}]
)
def test_limits_that_no_completion_can_keep_are_refused(language, limits):
    model = load(language)

    for ask in (lambda: model.stream("the film", **limits), lambda: model.answer(["a"], **limits)):
        with pytest.raises(InputError, match="A completion needs at least 1 token"):
            ask()


def test_python_refuses_a_pair_as_the_command_does(language):
    with pytest.raises(InputError, match="takes single texts, found a pair"):
        load(language).answer([("the film", "is good")])
