"""Whatever a table looks like: a config that loads and splits it, or one `InputError`."""

import os
import random

import pytest
from support.random_tables import LABELS, delimited_case
from support.random_typed_tables import json_case, parquet_case

from pipeline.config.load import load_config
from pipeline.errors import InputError
from pipeline.stages.data import DataSettings, prepare_data
from pipeline.standalone.new import NewSettings, write_new_config
from pipeline.tasks.all_tasks import find_task
from pipeline.tasks.columns import Given


def make_case(seed):
    """Return a random table and what the user says of it."""
    rng = random.Random(seed)
    make = rng.choice([delimited_case] * 3 + [json_case] * 2 + [parquet_case])
    case = make(rng, rng.choice(LABELS), [f"seed {seed}"])
    task = rng.choice([None, "classification", "classification", "regression", "multi-label"])
    named = Given(text=("text",), label=("label",)) if rng.random() < 0.5 else Given()
    return case, task, named


def problem_of(case, task, given, model, folder):
    """Return what is wrong with the config of a case, and whether there is one."""
    path, out = folder / f"table{case.suffix}", folder / "new.toml"
    path.write_bytes(case.data)
    try:
        settings = NewSettings(source=str(path), task=task, given=given, model=model, out=out)
        write_new_config(settings)
    except InputError as error:
        return ("a file is left" if out.exists() else None if str(error).strip() else "empty"), 0
    # What must not happen is named, whatever it is.
    except Exception as error:
        return f"{type(error).__name__}: {error}", 0
    config = load_config(out)
    out.unlink()
    task = find_task(config.task)
    prepare_data(DataSettings(task=task, data=config.data, sources=(), seed=config.seed), folder)
    if given.label and (config.data.text, config.data.label) != ("text", "label"):
        return "other columns than the named ones", 1
    return None, 1


def check(seeds, model, folder):
    problems, written = [], 0
    for seed in seeds:
        case, task, given = make_case(seed)
        if case is None:  # a file of such rows cannot be told from another
            continue
        problem, count = problem_of(case, task, given, model, folder)
        written += count
        if problem:
            problems.append((case.story, task, problem))
    assert not problems[:3]
    return written


def test_a_table_gets_a_config_that_runs_or_one_message(tiny_checkpoint, tmp_path):
    assert check(range(30), str(tiny_checkpoint), tmp_path) > 3


@pytest.mark.slow
def test_many_tables_get_configs_that_run_or_one_message(tiny_checkpoint, tmp_path):
    count = int(os.environ.get("FUZZ_TABLES", "1000"))

    assert check(range(30, 30 + count), str(tiny_checkpoint), tmp_path) > count // 10
