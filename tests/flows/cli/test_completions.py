import json

import pytest
from typer.testing import CliRunner

from flows.cli.main import app
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

    assert "are for language models" in str(found.exception)


def test_pair_is_refused(language):
    found = RUNNER.invoke(app, ["predict", str(language), "--pairs", "the", "film"])

    assert "takes single texts, found a pair" in str(found.exception)
