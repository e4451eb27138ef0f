"""The decisions of a retraining, with every task: untrained models in place of two students."""

import numpy as np
import pytest
from support.task_chains import TASK_RUNS, changed
from support.task_flows import ANY, with_fewer_texts

from pipeline.chain.teacher_steps import data_step
from pipeline.checkpoints.pretrained import find_checkpoint
from pipeline.checkpoints.tokenizers import load_tokenizer
from pipeline.checkpoints.weights import load_model
from pipeline.release.challenge import choose_champion
from pipeline.release.drift import measure_drift, new_texts
from pipeline.release.held_out import held_out_of_both
from pipeline.statistics.paired import compare_paired
from pipeline.tasks.all_tasks import find_task
from pipeline.texts.splits import SPLITS
from pipeline.texts.tables import read_split
from pipeline.training.encoding import compute_outputs
from pipeline.training.rows import make_rows


@pytest.fixture
def make_reader(task_config):
    """``make_reader(task, names, seed)``: (split) -> readings of a model with a random head."""

    def make_reader(name, names, seed):
        config, task = task_config(name), find_task(name)
        backbone, objective = find_checkpoint(config.teacher), task.objective()
        tokenizer = load_tokenizer(backbone, max_length=config.data.max_length)
        model = load_model(backbone, objective, labels=names, seed=seed)
        thresholds = task.thresholds and np.full(len(task.thresholds.names(names)), 0.5)

        def read(split):
            rows = make_rows(tokenizer, split.texts, task, max_length=config.data.max_length)
            outputs = rows.read(compute_outputs(model, objective, tokenizer, rows.examples))
            return task.readings(outputs, thresholds)

        return read

    return make_reader


@pytest.mark.parametrize("name", TASK_RUNS)
def test_new_texts_are_tested_for_drift_and_both_students_compared(
    name, task_config, make_reader, tiny_store, tmp_path
):
    task, config = find_task(name), task_config(name, f"runs_dir={tmp_path}")
    before = tiny_store.ensure(data_step(with_fewer_texts(config)))
    splits_of = str(before.folder)
    now = tiny_store.ensure(data_step(changed(config, "data", splits_of=splits_of)))
    old, new = ([read_split(each.folder, s) for s in SPLITS] for each in (before, now))
    champion, challenger = (make_reader(name, before.facts.labels, seed) for seed in (0, 1))

    fresh = new_texts(old, new)
    shifts = task.shifts(old[0].labels, fresh.labels, champion(old[2]), champion(fresh))
    drift = measure_drift(old[0], fresh, shifts, level=0.01)
    held_out = held_out_of_both(before.folder, now.folder, task)
    paired = compare_paired(
        champion(held_out),
        challenger(held_out),
        task.truth(held_out.texts, held_out.labels),
        metrics=task.metrics,
        errors=task.errors,
        confidence=0.95,
    )
    choice = choose_champion(paired, metric=task.main_metric, passed=True, is_first=False, rule=ANY)

    assert len(fresh) > 20
    assert len(drift) == 2 + len(shifts)
    assert all(0 <= each.p_value <= 1 for each in drift)
    assert paired.texts == len(held_out) > 20
    assert choice.replaces
