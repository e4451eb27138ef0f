import logging

import pytest
from tqdm.auto import tqdm
from transformers import TrainerControl, TrainerState, TrainingArguments

from pipeline.training.progress import _BAR, ProgressBar

LOGS = {"loss": 0.51234, "grad_norm": 3.0, "eval_pearson": 0.81234, "eval_rmse": 2.0}


class Bar:
    """A bar that records the calls of a callback."""

    def __init__(self):
        self.moved, self.shown = 0, ""

    n = 0

    def update(self, steps):
        self.moved += steps

    def set_postfix_str(self, shown, refresh):
        self.shown = shown


@pytest.fixture
def call(tmp_path):
    """``call(method, step=1, steps=4, **more)``: what the Trainer calls at a step."""

    def call(method, step=1, steps=4, **more):
        state = TrainerState(global_step=step, max_steps=steps)
        method(TrainingArguments(output_dir=str(tmp_path)), state, TrainerControl(), **more)

    return call


@pytest.mark.parametrize(
    ("loss", "expected"),
    [(0.51234, "0.512"), (12.3456, "12.346"), (0.0, "0.000"), (0.00012345, "1e-04")],
)
def test_bar_shows_the_loss_alone_in_few_digits(call, loss, expected):
    progress = ProgressBar("training")
    progress.bar = Bar()

    call(progress.on_log, logs=LOGS | {"loss": loss})
    call(progress.on_log, logs={"eval_pearson": 0.81234})

    assert progress.bar.shown == f"loss {expected}"


def test_line_holds_bar_step_time_and_loss():
    line = tqdm.format_meter(
        50, 200, 10.0, ncols=80, prefix="finetune", bar_format=_BAR, postfix="loss 0.512"
    )

    assert line.startswith("finetune:  25%|")
    assert line.endswith("| step 50 of 200, 00:30 left, loss 0.512")
    assert len(line) == 80


def test_last_step_is_recorded_with_the_last_loss(call, caplog):
    progress = ProgressBar("training")
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
