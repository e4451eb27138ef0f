"""The progress bar of a training, as a callback of the transformers Trainer."""

from typing import Any

from tqdm.auto import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class ProgressBar(TrainerCallback):
    """One bar for the whole training, with the last loss and validation metrics."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.bar: tqdm[Any] | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Open the bar, at the step that a resumed training goes on from."""
        self.bar = tqdm(
            total=state.max_steps,
            initial=state.global_step,
            desc=self.title,
            unit="step",
            dynamic_ncols=True,
            leave=False,
            disable=None,  # None: off where no terminal looks on
        )

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Move the bar to the finished step."""
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Show the last loss and validation metrics."""
        shown = {"loss", "eval_accuracy", "eval_agreement", "eval_kl"}
        if self.bar is not None and logs:
            self.bar.set_postfix({n: f"{v:.3g}" for n, v in logs.items() if n in shown})

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Close the bar."""
        if self.bar is not None:
            self.bar.close()
