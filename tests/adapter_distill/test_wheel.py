"""The wheel, installed into an environment of its own and run far from the checkout."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
import yaml
from support.installations import starting

ROOT = Path(__file__).parents[2]
PACKAGES = ("adapter_distill", "flows", "models", "pipeline")
PARTS = (*PACKAGES, "pyproject.toml", "setup.py", "prefect.yaml", "README.md", "LICENSE")

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of a copy of the source: setuptools leaves a folder ``build`` beside it."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in PARTS:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    options = ("--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", out)
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, source], check=True)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """A new environment with the wheel; its dependencies are those of this one.

    A line of a .pth file adds the folder alone, so that the editable install in it stays unseen.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    options = ("--no-deps", "--no-index", "--quiet", "--target", site)
    subprocess.run([sys.executable, "-m", "pip", "install", *options, wheel], check=True)
    return folder / "bin" / "python"


def run_in(environment, folder, *arguments):
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    found = subprocess.run(
        [environment, *arguments], cwd=folder, env=kept, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_wheel_holds_every_file_that_its_code_reads(wheel):
    packages = {name for name in zipfile.ZipFile(wheel).namelist() if "dist-info" not in name}
    source = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    assert packages == source | {"flows/prefect.yaml"}


def test_import_takes_the_installed_package(environment, tmp_path):
    printed = run_in(environment, tmp_path, "-c", "import pipeline; print(pipeline.__file__)")

    assert Path(printed.strip()).is_relative_to(environment.parents[1])


def test_command_answers(environment, tmp_path):
    printed = run_in(environment, tmp_path, "-m", "flows.cli.main", "config", "--schema")

    assert json.loads(printed)["title"] == "RunConfig"


@pytest.mark.slow
def test_up_starts_from_there_with_every_deployment(environment, tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    state, folder = tmp_path / "state", tmp_path / "empty"
    state.mkdir()
    folder.mkdir()
    written = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]

    with starting(state, python=environment, folder=folder) as installation:
        found = installation.request("POST", "/deployments/filter", json={}).json()

    assert {each["name"] for each in found} == {each["name"] for each in written}


@pytest.mark.slow
def test_smallest_config_runs_from_there(environment, tmp_path, smoke_overrides):
    shutil.copy(ROOT / "configs" / "smoke.toml", tmp_path)
    code = (
        "import sys; from adapter_distill import run;"
        "print(run('smoke.toml', sys.argv[1:]).load().predict(['a good film'])[0]['label'])"
    )

    printed = run_in(environment, tmp_path, "-c", code, *smoke_overrides)

    assert printed.strip() == "positive"
