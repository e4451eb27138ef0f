import json

import pytest
from typer.testing import CliRunner

from flows.cli.main import app

pytestmark = pytest.mark.xdist_group("prefect")

RUNNER = CliRunner()


def test_predict_prints_label_score_and_text(smoke_run):
    bundle = smoke_run / "student"
    lines = RUNNER.invoke(
        app, ["predict", str(bundle), "good film", "bad plot"]
    ).output.splitlines()

    labels, scores, texts = zip(*(line.split("\t") for line in lines), strict=True)
    assert set(labels) <= {"negative", "positive"}
    assert all(0.5 <= float(score) <= 1 for score in scores)
    assert texts == ("good film", "bad plot")


def test_predict_names_a_file_that_is_missing(cli, smoke_run):
    code, _, said = cli("predict", str(smoke_run / "student"), "--file", "nowhere.txt")

    assert code == 2
    assert "Cannot read the file nowhere.txt" in said
    assert "disk" not in said


def test_predict_reads_a_file_and_standard_input_alike(smoke_run, tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("good film\n\nżółć\n", encoding="utf-8")
    bundle = str(smoke_run / "student")

    from_file = RUNNER.invoke(app, ["predict", bundle, "--file", str(path)])
    from_stdin = RUNNER.invoke(app, ["predict", bundle, "-"], input=path.read_bytes())
    as_file = RUNNER.invoke(app, ["predict", bundle, "--file", "-"], input=path.read_bytes())

    assert from_file.output == from_stdin.output == as_file.output
    assert [line.split("\t")[2] for line in from_file.output.splitlines()] == ["good film", "żółć"]


def test_predict_prints_json_lines(smoke_run):
    result = RUNNER.invoke(app, ["predict", str(smoke_run / "student"), "--json", "one\ttwo"])

    (line,) = result.output.splitlines()
    found = json.loads(line)
    assert set(found) == {"text", "label", "score", "scores"}
    assert found["text"] == "one\ttwo"
    assert found["score"] == found["scores"][found["label"]]


def test_predict_takes_pairs_as_arguments_columns_and_json(smoke_run, tmp_path):
    columns, lines = tmp_path / "pairs.tsv", tmp_path / "pairs.jsonl"
    columns.write_text("good film\tbad plot\n")
    lines.write_text('{"text": "good film", "text_b": "bad plot"}\n')
    bundle = str(smoke_run / "student")

    by_arguments = RUNNER.invoke(app, ["predict", bundle, "good film", "bad plot", "--pairs"])
    by_columns = RUNNER.invoke(app, ["predict", bundle, "--file", str(columns), "--pairs"])
    by_json = RUNNER.invoke(app, ["predict", bundle, "--file", str(lines), "--jsonl"])

    assert by_arguments.output == by_columns.output == by_json.output
    assert by_arguments.output.rstrip("\n").split("\t")[2:] == ["good film", "bad plot"]


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "No texts"), (b"\n \n", "No texts"), (b"\xff", "not UTF-8")]
)
def test_unusable_texts_exit_2(cli, smoke_run, tmp_path, content, message):
    path = tmp_path / "texts.txt"
    path.write_bytes(content)

    code, _, stderr = cli("predict", smoke_run / "student", "--file", path)

    assert code == 2
    assert message in stderr


def test_missing_file_of_texts_exits_2(cli, smoke_run, tmp_path):
    code, _, stderr = cli("predict", smoke_run / "student", "--file", tmp_path / "nowhere.txt")

    assert code == 2
    assert "nowhere.txt" in " ".join(stderr.split())


def test_folder_without_a_bundle_exits_2(cli, tmp_path):
    code, _, stderr = cli("predict", tmp_path, "good film")

    assert code == 2
    assert "is not an exported classifier" in " ".join(stderr.split())


def test_predict_says_which_texts_were_cut(cli, write_words_bundle, tmp_path):
    bundle = write_words_bundle(tmp_path / "student")
    long = "good " * 600

    code, plain, said = cli("predict", str(bundle), "good film", long)
    _, lines, _ = cli("predict", str(bundle), "good film", long, "--json")

    assert (code, len(plain.splitlines())) == (0, 2)
    assert "1 of 2 texts are longer than" in said
    assert [json.loads(line).get("truncated") for line in lines.splitlines()] == [None, True]
