import json
import sys

import pytest

from flows.cli.main import main
from pipeline.timing.measurement import read_measurement

QUICK = ("--length", "4", "--seconds", "1")
WORDS = "a good film\nso dull and so long a story that it was boring\nfine\n"


@pytest.fixture
def cli(monkeypatch, capfd):
    """``cli(*arguments)``: exit code, standard output and standard error of the command."""

    def cli(*arguments):
        monkeypatch.setattr(sys, "argv", ["adapter-distill", "benchmark", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        return (stop.value.code, *(" ".join(text.split()) for text in capfd.readouterr()))

    return cli


@pytest.fixture
def bundles(write_bundle, tmp_path):
    """The folders of a plain, a teacher's and a student's bundle."""
    return (
        write_bundle(tmp_path / "plain"),
        write_bundle(tmp_path / "teacher", adapters=1),
        write_bundle(tmp_path / "student", seed=1),
    )


def test_any_two_files_are_measured_with_the_noise_beside_them(cli, bundles, tmp_path):
    plain, _, student = bundles
    out = tmp_path / "a.json"

    code, printed, _ = cli(student / "onnx" / "model.onnx", plain, *QUICK, "--out", out)

    assert code == 0
    assert "plain again" in printed
    assert "batch 1, 4 tokens" in printed
    assert "verdict" not in printed
    measurement = read_measurement(out)
    assert measurement.candidate == "model.onnx"
    assert measurement.baseline == "plain"
    assert json.loads(out.read_text())["machine"]["cpu"]


def test_teacher_gives_a_verdict_and_texts_one_more_cell(cli, bundles, tmp_path):
    plain, teacher, student = bundles
    texts = tmp_path / "texts.txt"
    texts.write_text(WORDS)

    code, printed, _ = cli(
        student, "--against", plain, "--teacher", teacher, "--texts", texts, *QUICK
    )

    assert "verdict: " in printed
    assert "batch 1, own lengths" in printed
    outcomes = {"overhead gone": 0, "overhead remains": 3, "inconclusive": 4}
    assert code == next(c for said, c in outcomes.items() if f"verdict: {said}" in printed)


def test_more_files_than_a_process_bears_are_measured_in_turns(
    cli, bundles, write_bundle, tmp_path
):
    others = [write_bundle(tmp_path / f"other{n}", layers=n) for n in (1, 3)]

    code, printed, _ = cli(*bundles, *others, *QUICK)

    assert code == 0
    for name in ("plain", "teacher", "student", "other1", "other3"):
        assert name in printed


def test_two_measurements_are_compared(cli, bundles, tmp_path):
    plain, teacher, student = bundles
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for path, candidate in zip(paths, (teacher, student), strict=True):
        assert cli(candidate, plain, *QUICK, "--out", path)[0] == 0

    code, printed, _ = cli("--compare", *paths)

    assert code == 0
    assert "student (B) against teacher (A)" in printed
    assert "through the same baseline" in printed
    assert "B is: " in printed


def test_measurements_of_different_machines_are_refused(cli, bundles, tmp_path):
    path, other = tmp_path / "a.json", tmp_path / "b.json"
    cli(*bundles, *QUICK, "--out", path)
    document = json.loads(path.read_text())
    document["machine"]["cpu"] = "Another CPU"
    other.write_text(json.dumps(document))

    code, _, said = cli("--compare", path, other)

    assert code == 2
    assert "of different machines" in said
    assert "Another CPU" in said


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "Give one or more ONNX files"),
        (("nowhere.onnx",), "nowhere.onnx does not exist"),
        (("pyproject.toml",), "pyproject.toml is not an ONNX file"),
        (("configs",), "configs holds neither onnx/model.onnx nor model.onnx"),
        (("PLAIN", "--length", "some"), "--length expects numbers"),
        (("PLAIN", "--batch", "0"), "--batch expects numbers from 1"),
        (("PLAIN", "--texts", "nowhere.txt"), "Cannot read the file nowhere.txt"),
        (("PLAIN", "--torch", "configs"), "configs is not a teacher"),
        (("PLAIN", "--out", "nowhere/a.json"), "the folder nowhere does not exist"),
        (("--compare", "nowhere.json", "nowhere.json"), "Cannot read nowhere.json"),
        (("--compare", "pyproject.toml", "pyproject.toml"), "pyproject.toml is not JSON"),
        (("PLAIN", "--compare", "a.json", "b.json"), "--compare measures nothing"),
    ],
)
def test_bad_input_exits_2_with_one_message(cli, bundles, arguments, problem):
    given = [bundles[0] if part == "PLAIN" else part for part in arguments]

    code, printed, said = cli(*given)

    assert code == 2
    assert problem in said
    assert said.count("error:") == 1
    assert "Traceback" not in printed + said


def test_model_with_other_inputs_exits_2(cli, write_bundle, tmp_path):
    pixels = write_bundle(tmp_path / "vision", inputs=("input_ids", "pixels"))

    code, _, said = cli(pixels)

    assert code == 2
    assert "found input_ids, pixels" in said


def test_model_that_onnxruntime_cannot_run_exits_2(cli, bundles):
    path = bundles[0] / "onnx" / "model.onnx"
    path.write_bytes(path.read_bytes().replace(b"ReduceMean", b"ReduceNone"))

    code, _, said = cli(bundles[0], *QUICK)

    assert code == 2
    assert "ReduceNone" in said
    assert "Traceback" not in said
