"""Every command of README, run as it stands there, from a fresh clone."""

import os
import re
import subprocess
import sysconfig
import venv
from hashlib import sha256
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
SHELL = [text for language, text in BLOCKS if not language]
PYTHON = [text for language, text in BLOCKS if language == "python"]
INSTALL, QUICK, DEMO, OWN_DATA = SHELL

pytestmark = [pytest.mark.slow, pytest.mark.system]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A fresh clone, as README's first block makes it; packages are those of this environment.

    The block's URL is this repository. The environment is made here, so that nothing is downloaded.
    """
    folder = tmp_path_factory.mktemp("clone")
    clone, activate = INSTALL.splitlines()
    run(clone.replace("URL", str(ROOT)), folder)
    made = folder / "adapter-distill"
    make_environment(made)
    run(activate, made)
    return made


def make_environment(clone):
    """Make .venv as scripts/setup would, with the stamp that says so."""
    venv.create(clone / ".venv", with_pip=False)
    site = next((clone / ".venv").glob("lib/python*/site-packages"))
    (site / "project.pth").write_text(f"{clone}\n{sysconfig.get_path('purelib')}\n")
    command = clone / ".venv" / "bin" / "adapter-distill"
    command.write_text(f'#!/bin/sh\nexec "{clone}/.venv/bin/python" -m flows.cli.main "$@"\n')
    command.chmod(0o755)
    digest = sha256((clone / "pyproject.toml").read_bytes()).hexdigest()[:16]
    (clone / ".venv" / f".installed-demo-{digest}").touch()


def run(block, folder, *, codes=(0,)):
    """Run a block of shell in a folder; return what it prints."""
    path = f"{folder / '.venv' / 'bin'}:{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    found = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=folder,
        env=kept | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode in codes, found.stdout + found.stderr
    return found.stdout


def test_first_minute_ends_with_an_answer(clone):
    printed = run(QUICK, clone)

    assert "student: runs/" in printed
    assert re.search(r"^(positive|negative)\t0\.\d+\ta moving", printed, flags=re.MULTILINE)


def test_python_runs_after_the_first_minute(clone):
    run(QUICK, clone)
    texts = "\n".join(f"the film is {word}" for word in ("good", "bad", "long", "dull") * 4)
    (clone / "texts.txt").write_text(texts)
    (clone / "readme.py").write_text(PYTHON[0])

    printed = run("python readme.py", clone)

    assert "'agreement':" in printed
    assert "'label':" in printed


def test_notebook_of_the_docs_runs(clone):
    run(QUICK, clone)

    run("python scripts/notebook.py", clone)

    assert "```text\n" in (clone / "docs" / "guides" / "notebook.md").read_text()


def test_own_data_become_a_config_that_runs(clone):
    rows = [(f"{word} number {n}", queue) for n in range(60) for word, queue in WORDS]
    lines = ["body,queue", *(",".join(row) for row in rows)]
    (clone / "tickets.csv").write_text("\n".join(lines))
    # A whole run of it takes minutes; the data stage reads everything that `new` has written.
    new, whole = OWN_DATA.splitlines()

    assert "run it: adapter-distill run tickets.toml" in run(new, clone)
    run(f"{whole} --until data", clone)


WORDS = (("my invoice is wrong", "billing"), ("my parcel is late", "delivery"), ("hello", "other"))


def test_demo_passes_or_refuses_with_reasons(clone):
    printed = run(DEMO, clone, codes=(0, 3))

    assert "verdict: " in printed
