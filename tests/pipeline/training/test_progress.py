import logging

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from pipeline.training.progress import ProgressBar

LOGS = {"loss": 0.51234, "grad_norm": 3.0, "eval_pearson": 0.81234, "eval_rmse": 2.0}


class Bar:
    """What a callback does with its bar."""

    def __init__(self):
        self.moved, self.shown = 0, {}

    n = 0

    def update(self, steps):
        self.moved += steps

    def set_postfix(self, shown):
        self.shown = shown


@pytest.fixture
def call(tmp_path):
    """``call(method, step=1, steps=4, **more)``: what the Trainer calls at a step."""

    def call(method, step=1, steps=4, **more):
        state = TrainerState(global_step=step, max_steps=steps)
        method(TrainingArguments(output_dir=str(tmp_path)), state, TrainerControl(), **more)

    return call


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("pearson", {"loss": "0.512", "eval_pearson": "0.812"}),
        ("rmse", {"loss": "0.512", "eval_rmse": "2"}),
        ("accuracy", {"loss": "0.512"}),
    ],
)
def test_bar_shows_the_loss_and_the_metric_that_decides(call, metric, expected):
    progress = ProgressBar("training", metric=metric)
    progress.bar = Bar()

    call(progress.on_log, logs=LOGS)

    assert progress.bar.shown == expected


def test_last_step_is_recorded_with_the_last_loss(call, caplog):
    progress = ProgressBar("training", metric="pearson")
    call(progress.on_train_begin, step=0)
    progress.bar = Bar()

    with caplog.at_level(logging.INFO, logger="pipeline"):
        call(progress.on_log, logs=LOGS)
        call(progress.on_step_end, step=4)

    (record,) = caplog.records
    assert (record.progress.step, record.progress.steps) == (4, 4)
    assert record.progress.loss == 0.51234
    assert record.getMessage() == "training: step 4 of 4, loss 0.5123, 0 min 00 s left"
    assert progress.bar.moved == 4
