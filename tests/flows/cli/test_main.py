import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli.main import app
from pipeline.config import RunConfig
from pipeline.config.load import load_config

pytestmark = pytest.mark.xdist_group("prefect")

SMOKE = "configs/smoke.toml"
RUNNER = CliRunner()

# Fills the disk: no file may grow past 64 KiB, and writing on is an error instead of a signal.
FULL_DISK = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
from flows.cli.main import main
main()
"""


@pytest.fixture
def run_smoke(cli, smoke_run, smoke_overrides):
    """``run_smoke(*overrides)``: what `cli` returns for a run in the first run's folder."""

    def run_smoke(*overrides):
        everything = (*smoke_overrides, f"runs_dir={smoke_run.parent}", *overrides)
        settings = [part for each in everything for part in ("--set", each)]
        return cli("run", SMOKE, *settings)

    return run_smoke


def without_line_breaks(text):
    return " ".join(text.split())


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["run"],
        ["compare"],
        ["sweep"],
        ["benchmark"],
        ["predict"],
        ["config"],
        ["export-adapter"],
    ],
)
def test_help_stands_everywhere(command):
    result = RUNNER.invoke(app, [*command, "--help"])

    assert result.exit_code == 0
    assert "Usage:" in result.output


def test_schema_describes_the_config():
    result = RUNNER.invoke(app, ["config", "--schema"])

    schema = json.loads(result.output)
    assert schema == RunConfig.model_json_schema()
    assert {"data", "teacher", "distill", "gate"} <= set(schema["properties"])
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.toml"], "Cannot read the config missing.toml"),
        (
            [SMOKE, "--set", 'compare.methods=["prefix"]'],
            "compare.methods: Input should be 'houlsby'",
        ),
        ([SMOKE, "--set", "compare.sizes=[1]"], "compare.sizes: unknown key"),
    ],
)
def test_comparison_of_what_cannot_be_compared_is_refused(cli, arguments, message):
    code, _, stderr = cli("compare", *arguments)

    assert code == 2
    assert message in without_line_breaks(stderr)


def test_run_until_a_stage_says_where_it_is(cli, smoke_run, smoke_overrides):
    settings = [p for o in (*smoke_overrides, f"runs_dir={smoke_run.parent}") for p in ("--set", o)]

    code, stdout, _ = cli("run", SMOKE, *settings, "--until", "finetune")

    assert code == 0
    assert f"finetune: {smoke_run.parent / 'smoke.finetune'}" in stdout
    assert (smoke_run.parent / "smoke.finetune").samefile(smoke_run / "finetune")


def test_run_until_no_stage_names_the_stages(cli):
    code, _, stderr = cli("run", SMOKE, "--until", "training")

    assert code == 2
    assert "'fuse'" in without_line_breaks(stderr)


def test_config_is_printed_with_every_default():
    result = RUNNER.invoke(app, ["config", SMOKE])

    assert RunConfig.model_validate_json(result.output) == load_config(Path(SMOKE))
    assert json.loads(result.output)["distill"]["temperature"] == 2.0


@pytest.mark.parametrize("arguments", [[], [SMOKE, "--schema"]])
def test_config_wants_one_of_its_two_uses(cli, arguments):
    code, _, stderr = cli("config", *arguments)

    assert code == 2
    assert "Give either --schema or the path of a config" in stderr


def test_passed_run_exits_0_and_says_where_the_student_is(run_smoke):
    code, stdout, stderr = run_smoke()

    assert code == 0
    assert "verdict: passed" in stdout
    assert "macro f1" in stdout
    assert "faster: " in stdout
    assert "faithful: agrees with the teacher on " in stdout
    assert "smaller: " in stdout
    assert (Path(stdout.split("student: ")[-1].strip()) / "onnx" / "model.onnx").is_file()
    assert "Traceback" not in stderr


def test_refused_run_exits_3_and_says_why(run_smoke):
    code, stdout, stderr = run_smoke("gate.max_latency_ratio=0.01")

    assert code == 3
    assert "verdict: refused" in stdout
    assert "gate.max_latency_ratio accepts 0.010" in without_line_breaks(stdout)
    assert "Traceback" not in stderr


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.train=nowhere.csv"], "nowhere.csv does not exist"),
        (["data.text=words"], "has no column 'words'"),
        (['data.labels=["negative", "neutral"]'], "holds 'positive', which is not in data.labels"),
        (["data.filter.label=positive"], "holds one class only ('positive')"),
        (["teacher.model=./configs"], "is not a readable model"),
        (["teacher.model=nobody/nothing"], "Cannot fetch the model 'nobody/nothing'"),
        pytest.param(["data.max_length=65"], "takes at most 64 tokens", marks=pytest.mark.slow),
        pytest.param(["student.layers=[5]"], "found [5]", marks=pytest.mark.slow),
        (["runs_dir=pyproject.toml/runs"], "Cannot write to runs_dir pyproject.toml/runs"),
        (["nonsense"], "--set expects key.path=value, found 'nonsense'"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_bad_input_exits_2_with_one_message(run_smoke, overrides, message):
    code, stdout, stderr = run_smoke(*overrides)

    assert code == 2
    assert message in without_line_breaks(stderr)
    assert stderr.count("error:") == 1
    assert "Traceback" not in stdout + stderr


def test_every_problem_of_a_config_is_told_at_once(cli):
    code, _, stderr = cli(
        "run", SMOKE, "--set", "distill.temprature=2", "--set", "finetune.epochs=many"
    )

    assert code == 2
    assert "2 problems" in stderr
    assert "did you mean 'temperature'?" in stderr
    assert "finetune.epochs" in stderr


def test_sweep_of_what_there_is_not_exits_2(cli, tmp_path):
    runs = f"runs_dir={tmp_path}"

    code, _, stderr = cli("sweep", SMOKE, "--set", runs, "--set", "sweep.layer=[1]")

    assert code == 2
    assert "sweep.layer: unknown key; did you mean 'layers'?" in stderr


@pytest.mark.parametrize("content", [None, b"name = ", b"\xff\xfe"])
def test_unreadable_config_exits_2(cli, tmp_path, content):
    path = tmp_path / "config.toml"
    if content is not None:
        path.write_bytes(content)

    code, _, stderr = cli("run", path)

    assert code == 2
    assert str(path) in without_line_breaks(stderr)


@pytest.mark.slow
def test_full_disk_exits_2_and_leaves_the_last_result(
    prefect_server, smoke_run, smoke_overrides, tmp_path
):
    root = smoke_run.parent
    before = {path.name for path in root.iterdir()} | {(root / "latest").readlink()}
    overrides = [*smoke_overrides, f"runs_dir={root}", "seed=9"]
    settings = [part for each in overrides for part in ("--set", each)]
    server = {"PREFECT_API_URL": prefect_server, "PREFECT_HOME": str(tmp_path)}

    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, "run", SMOKE, *settings],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | server,
    )

    assert done.returncode == 2
    assert "No finished result was replaced" in without_line_breaks(done.stderr)
    assert "Traceback" not in done.stderr
    assert before == {path.name for path in root.iterdir()} | {(root / "latest").readlink()}


@pytest.mark.xdist_group("newcomer")  # beside those that share a server
def test_newcomer_needs_no_server(smoke_overrides, tmp_path):
    overrides = [*smoke_overrides, f"runs_dir={tmp_path / 'runs'}"]
    settings = [part for each in overrides for part in ("--set", each)]
    environment = {name: text for name, text in os.environ.items() if "PREFECT" not in name}

    done = subprocess.run(
        [sys.executable, "-m", "flows.cli.main", "run", SMOKE, "--until", "head-only", *settings],
        capture_output=True,
        text=True,
        check=False,
        env=environment | {"PREFECT_HOME": str(tmp_path / "prefect")},
    )

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "smoke.head-only" / "teacher.safetensors").is_file()
    assert (tmp_path / "prefect" / "prefect.db").is_file()
