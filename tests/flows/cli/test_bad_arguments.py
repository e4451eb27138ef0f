"""Every command with every kind of bad path: exit code 2 and one message, never a traceback."""

import os

import pytest
import typer

from flows.cli.main import QUIET, SPEAKING, app
from flows.cli.models import models
from flows.cli.pools import pools

# BAD stands for the bad path; the other names for what is sound.
USES = [
    "run BAD",
    "compare BAD",
    "sweep BAD",
    "new BAD",
    "new TABLE --model BAD --out OUT",
    "config BAD",
    "predict BAD text",
    "predict BUNDLE --file BAD",
    "benchmark BAD",
    "benchmark BUNDLE --texts BAD",
    "benchmark BUNDLE --against BAD",
    "benchmark BUNDLE --torch BAD",
    "benchmark --compare BAD BAD",
    "absorb BAD --texts TEXTS --out OUT",
    "absorb BUNDLE --texts BAD --out OUT",
    "distill BAD --teacher BUNDLE --texts TEXTS --out OUT",
    "export BAD --out OUT",
    "inspect BAD",
    "inspect BUNDLE --texts BAD",
    "import-adapter BAD --backbone BUNDLE --out OUT",
    "import-adapter BUNDLE --backbone BAD --out OUT",
    "import-adapter BUNDLE BUNDLE --fusion BAD --backbone BUNDLE --out OUT",
    "export-adapter BAD --out OUT",
    "package BAD --for hub --out OUT",
    "serve --bundle tiny=BAD --port 0",
    "models register BAD --runs-dir RUNS",
    "backup OUT --state BAD",
    "restore BAD --state OUT",
    "gc --runs-dir BAD",
    "gc --state BAD",
]
OUTS = [
    "new TABLE --model BUNDLE --out BAD",
    "absorb BUNDLE --texts TEXTS --out BAD",
    "export-adapter BUNDLE --out BAD",
    "import-adapter BUNDLE --backbone BUNDLE --out BAD",
    "package BUNDLE --for hub --out BAD",
    "benchmark BUNDLE --seconds 1 --out BAD/m.json",
    "models list --runs-dir BAD",
    "models register BUNDLE --runs-dir BAD",
    "run CONFIG --set runs_dir=BAD",
    "up --state BAD",
    "backup BAD --state RUNS",
]


def missing(path):
    pass


def folder(path):
    path.mkdir()
    (path / "inside").write_text("x")


def garbage(path):
    path.write_bytes(bytes(range(256)) * 9)


def empty(path):
    path.touch()


def loop(path):
    """A loop of links, which nobody can open, not even root."""
    path.symlink_to(path)


def folder_of_garbage(path):
    path.mkdir()
    names = ("config.json", "tokenizer.json", "tokenizer_config.json", "manifest.json")
    for name in (*names, "report.json", "adapter_config.json", "model.safetensors"):
        garbage(path / name)
    (path / "onnx").mkdir()
    garbage(path / "onnx" / "model.onnx")


KINDS = [missing, folder, garbage, empty, loop, folder_of_garbage]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A runs folder; making its registry takes seconds, so that it is shared."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def ask(cli, write_words_bundle, tmp_path, runs, monkeypatch):
    """``ask(use, bad)``: exit code and standard error of a command with a bad path."""
    monkeypatch.chdir(tmp_path)
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    write_words_bundle(tmp_path / "student")
    (tmp_path / "texts.txt").write_text("good film\n" * 9)
    (tmp_path / "config.toml").write_text(
        'name = "x"\n[data]\ntrain = "a.csv"\n[teacher]\nmodel = "m"\n'
    )
    rows = "".join(f"the text {n},{n % 2}\n" for n in range(40))
    (tmp_path / "table.csv").write_text(f"text,label\n{rows}")
    good = {"OUT": "out", "TEXTS": "texts.txt", "BUNDLE": "student", "CONFIG": "config.toml"}
    good["TABLE"] = "table.csv"
    good["RUNS"] = os.fspath(runs)

    def ask(use, bad):
        words = [good.get(word, word.replace("BAD", os.fspath(bad))) for word in use.split()]
        code, stdout, stderr = cli(*words)
        assert "Traceback" not in stdout + stderr
        return code, stderr

    return ask


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("use", USES)
def test_bad_path_is_refused_with_one_message(ask, tmp_path, use, kind):
    bad = tmp_path / "bad"
    kind(bad)

    code, stderr = ask(use, bad)

    assert (code, stderr.count("error:")) == (2, 1), stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("use", OUTS)
def test_place_that_cannot_be_written_to_is_refused(ask, tmp_path, use):
    (tmp_path / "file").write_text("x")

    code, stderr = ask(use, tmp_path / "file" / "below")

    assert (code, stderr.count("error:")) == (2, 1), stderr


def number_options():
    """Return (command, option, a number that it cannot be) of all options that are numbers."""
    found = []

    def visit(command, path):
        for name, below in getattr(command, "commands", {}).items():
            visit(below, [*path, name])
        for each in getattr(command, "params", ()):
            kind = getattr(getattr(each, "type_descriptor", None), "annotation", None)
            if each.name == "help" or kind not in (int, float, int | None, float | None):
                continue
            numbers = ("-1", "nan", "inf", "1e308") if kind in (float, float | None) else ("-1",)
            found.extend((" ".join(path), each.opts[0], number) for number in numbers)

    visit(typer.main.get_command(app), [])
    return found


def test_options_that_are_numbers_are_found():
    found = {(command, option) for command, option, _ in number_options()}

    assert {("serve", "--head-s"), ("gc", "--keep-days"), ("predict", "--seed")} <= found
    assert ("models promote", "--max-champion-drop") in found


@pytest.mark.parametrize(("command", "option", "number"), number_options())
def test_number_that_an_option_cannot_be_is_refused_by_its_name(ask, command, option, number):
    uses = {"up": "up", "models promote": "models promote tiny 1"}
    uses["pools create"] = "pools create gpu"
    use = next((each for each in USES if each.split()[0] == command), uses.get(command))

    code, stderr = ask(f"{use} {option} {number}".replace("BAD", "BUNDLE"), "unused")

    assert code == 2
    assert option.lstrip("-").replace("-", "") in stderr.replace("-", "").replace("_", "")


@pytest.mark.parametrize("bad", ["a\0b", "caf\udce9.toml"])
@pytest.mark.parametrize("use", ["config BAD", "predict BUNDLE BAD", "run CONFIG --set name=BAD"])
def test_argument_that_is_no_text_is_refused(ask, use, bad):
    code, stderr = ask(use, bad)

    assert (code, stderr.count("error:")) == (2, 1), stderr
    assert "Argument" in stderr


def test_every_command_is_asked():
    named = {command.name for command in app.registered_commands}
    named |= {f"models {command.name}" for command in models.registered_commands}
    named |= {f"pools {command.name}" for command in pools.registered_commands}
    # What takes no path to read or to write.
    without = {"models show", "models compare", "models promote", "models rollback", "models pull"}
    without |= {"pools create"}

    asked = {" ".join(use.split()[: 2 if use.startswith("models") else 1]) for use in USES + OUTS}

    assert named - without == asked
    assert set(QUIET) | set(SPEAKING) < named
