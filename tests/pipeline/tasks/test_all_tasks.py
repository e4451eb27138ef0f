"""A task of one file, as CONTRIBUTING.md shows it: added in a temporary file, and trained with."""

import importlib.util
import json
import os
import random
import re
import shutil
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.task_chains import QUICK
from support.tiny_models import BAD, GOOD, NEUTRAL

from pipeline.config.load import load_config
from pipeline.store.stage import RECORD
from pipeline.tasks.all_tasks import TASK_KEY, TASKS, task_of_model

ROOT = Path(__file__).parents[3]
STARS = ("one", "two", "three")


def shown_task():
    """Return the task's file out of the guide."""
    guide = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^ *```python\n(.*?)^ *```$", guide, re.MULTILINE | re.DOTALL)
    (found,) = (block for block in blocks if "ORDINAL = replace(" in block)
    return textwrap.dedent(found)


def write_stars(path):
    """Write 120 texts: the label counts the good words of two."""
    rng = random.Random(0)
    lines = ["text,label"]
    for number in range(120):
        good = number % 3
        words = rng.sample(GOOD.split(), k=good) + rng.sample(BAD.split(), k=2 - good)
        lines.append(f"{' '.join([*words, *rng.sample(NEUTRAL.split(), k=4)])},{STARS[good]}")
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def ordinal(tmp_path_factory):
    """The task of the guide, which this process knows as its own."""
    path = tmp_path_factory.mktemp("tasks") / "ordinal.py"
    path.write_text(shown_task(), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("pipeline.tasks.ordinal", path)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        patch.setitem(TASKS, "ordinal", module.ORDINAL)
        yield module.ORDINAL


def overrides(data, model):
    return [
        f"data.train={data}",
        f"data.labels={json.dumps(STARS)}",
        "data.text=text",
        "data.label=label",
        f"teacher.model={model}",
        *QUICK,
    ]


@pytest.mark.usefixtures("ordinal")
def test_the_guides_task_is_trained_by_the_stages_as_they_are(tiny_checkpoint, run_until, tmp_path):
    data = write_stars(tmp_path / "stars.csv")
    config = load_config(ROOT / "configs" / "smoke.toml", overrides(data, tiny_checkpoint))

    stages = run_until("head-only", config.model_copy(update={"task": "ordinal"}))

    curve = stages["head-only"].facts.outcome.curve
    assert set(curve[-1].validation) >= {"nearness", "accuracy"}
    assert stages["head-only"].facts.outcome.best_metric > 0.5


def test_the_guides_metric_is_what_it_says(ordinal):
    logits = np.eye(3)[[0, 1, 2, 0]]

    found = ordinal.metrics(logits, np.array([0, 1, 2, 2]))

    assert found == {"nearness": 1 - 2 / 8, "accuracy": 0.75}


def test_a_model_that_was_exported_names_its_task(ordinal):
    assert task_of_model({TASK_KEY: "ordinal", "architectures": ["BertModel"]}) is ordinal
    assert task_of_model({TASK_KEY: "another"}) is TASKS["classification"]
    assert replace(ordinal, name="classification").main_metric == "nearness"


@pytest.mark.slow
@pytest.mark.system
def test_the_guides_task_runs_the_chain_in_a_tree_of_its_own(tiny_checkpoint, tmp_path):
    for package in ("adapter_distill", "pipeline", "models", "flows", "configs"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    tasks = tmp_path / "pipeline" / "tasks"
    (tasks / "ordinal.py").write_text(shown_task(), encoding="utf-8")
    insert(tmp_path / "pipeline/config/task.py", "TaskName = Literal[", '"ordinal", ')
    insert(tasks / "all_tasks.py", "for task in (", "ORDINAL, ")
    insert(tasks / "all_tasks.py", "import Any\n\n", "from pipeline.tasks.ordinal import ORDINAL\n")
    data = write_stars(tmp_path / "stars.csv")

    def command(*arguments):
        asked = [sys.executable, "-m", "flows.cli.main", *map(str, arguments)]
        environment = os.environ | {"PYTHONPATH": str(tmp_path)}
        done = subprocess.run(
            asked, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    asked = ["task=ordinal", "runs_dir=runs", *overrides(data, tiny_checkpoint)]
    options = [part for each in asked for part in ("--set", each)]
    command("run", "configs/smoke.toml", "--until", "evaluate", *options)
    bundle = next((tmp_path / "runs/.stages").glob("quantize-*/student"))
    answer = json.loads(command("predict", bundle, "good great film", "--json"))

    assert json.loads((bundle / "config.json").read_text())[TASK_KEY] == "ordinal"
    assert answer["label"] in STARS
    measured = next((tmp_path / "runs/.stages").glob("evaluate-*"))
    assert "nearness" in (measured / RECORD).read_text(encoding="utf-8")


def insert(path, behind, what):
    text = path.read_text(encoding="utf-8")
    assert behind in text
    path.write_text(text.replace(behind, behind + what, 1), encoding="utf-8")
