"""Progress of a training, as a callback of the transformers Trainer: a bar, and log records.

The bar is for a terminal. The records are for everything else, such as a run's page in the Prefect
UI. A record follows every few seconds, with a `Progress` as its attribute ``progress``.
"""

import logging
import time
from dataclasses import dataclass
from typing import Any

from tqdm.auto import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from pipeline.workers.bars import hides_bars

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_RECORDS = 4.5
_BAR = "{desc}: {percentage:3.0f}%|{bar}| step {n_fmt} of {total_fmt}, {remaining} left{postfix}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Progress of a training: its step, its loss and the time left."""

    title: str
    step: int
    steps: int
    loss: float | None
    """Last logged loss; None before the first."""
    seconds_left: float
    """Time left at the mean speed of this attempt, in seconds."""

    @property
    def percent(self) -> float:
        """Share of the steps that are done, in percent."""
        return 100 * self.step / self.steps

    def __str__(self) -> str:
        """Return the progress as a line for a log."""
        loss = "" if self.loss is None else f", loss {self.loss:.4g}"
        left = f"{self.seconds_left // 60:.0f} min {self.seconds_left % 60:02.0f} s"
        return f"{self.title}: step {self.step} of {self.steps}{loss}, {left} left"


class ProgressBar(TrainerCallback):
    """One bar for the whole training, with its step, the time left and the last loss."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.bar: tqdm[Any] | None = None
        self.loss: float | None = None
        self.first_step = 0
        self.started_s = self.recorded_s = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Open the bar, at the step from which a resumed training continues."""
        self.first_step = state.global_step
        self.started_s = self.recorded_s = time.monotonic()
        self.bar = tqdm(
            total=state.max_steps,
            initial=state.global_step,
            desc=self.title,
            bar_format=_BAR,
            dynamic_ncols=True,
            leave=False,
            disable=hides_bars(),
        )

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Move the bar to the finished step."""
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)
        is_last = state.global_step == state.max_steps
        if is_last or time.monotonic() - self.recorded_s > _SECONDS_BETWEEN_RECORDS:
            self._record(state)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Show the last loss."""
        if logs and "loss" in logs:
            self.loss = logs["loss"]
            if self.bar is not None:
                self.bar.set_postfix_str(f"loss {_short(self.loss)}", refresh=False)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Close the bar."""
        if self.bar is not None:
            self.bar.close()

    def _record(self, state: TrainerState) -> None:
        """Log the progress of the training."""
        self.recorded_s = time.monotonic()
        pace_s = (self.recorded_s - self.started_s) / max(1, state.global_step - self.first_step)
        progress = Progress(
            title=self.title,
            step=state.global_step,
            steps=state.max_steps,
            loss=self.loss,
            seconds_left=pace_s * (state.max_steps - state.global_step),
        )
        logger.info("%s", progress, extra={"progress": progress})


def _short(loss: float) -> str:
    """Return a loss with three decimals, or a very small one with its exponent."""
    return f"{loss:.3f}" if loss == 0 or abs(loss) >= 0.001 else f"{loss:.0e}"
