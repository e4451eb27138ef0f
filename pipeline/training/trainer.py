"""One training by gradient descent: the transformers Trainer, set up for teacher and student alike.

A caller gives its model, its examples and a loss per example. What an example's ``labels`` hold is
between the caller and its loss: a label, or a label and the teacher's outputs.

Killed and started again with the same scratch folder, training goes on from its last whole
checkpoint: a checkpoint counts once a marker file, written last, stands in it.
"""

import logging
import math
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler, SequentialSampler
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from models.losses import Objective
from models.units import to_label_unit, to_standard_units
from pipeline.checkpoints.context import ModelContext
from pipeline.checkpoints.pretrained import find_architecture
from pipeline.config import TrainingConfig
from pipeline.errors import InputError
from pipeline.facts.training import TrainingOutcome
from pipeline.store.files import write_atomic
from pipeline.training.encoding import collator
from pipeline.training.goal import Goal, TrainingSetup, in_standard_units, of_hidden
from pipeline.training.outcome import outcome_of
from pipeline.training.precision import choose_precision
from pipeline.training.progress import ProgressBar

logger = logging.getLogger(__name__)

_WHOLE = "checkpoint-is-whole"


def train(
    setup: TrainingSetup,
    goal: Goal,
    config: TrainingConfig,
    *,
    scratch: Path,
    context: ModelContext,
    title: str,
) -> TrainingOutcome:
    """Train what requires gradients, in place, and leave the best validated weights in the model.

    Args:
        scratch: Folder for checkpoints.
        context: Its seed orders the batches and draws the dropout; its device trains.
        title: What the progress bar says.

    Raises:
        InputError: when the loss is not finite, with the step and the cause.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    model = setup.model
    setup, goal = in_standard_units(setup, goal)
    collate = collator(setup.tokenizer)
    head = setup.objective.head(find_architecture(model)) if setup.units else None
    if setup.units and head:
        to_standard_units(model, head, setup.units)
    goal, keep = of_hidden(setup, goal)
    batch = collate([setup.training[0]] * config.batch_size)
    precision = choose_precision(config, setup, batch, goal.loss, context.device)
    # Of like length side by side; their outputs are brought back into the examples' order.
    order = np.argsort([len(each["input_ids"]) for each in setup.validation], kind="stable")
    trainer = _ItemTrainer(
        model=model,
        args=_arguments(setup, goal, config, precision, scratch=scratch, context=context),
        data_collator=collate,
        train_dataset=cast(Any, setup.training),
        eval_dataset=cast(Any, [setup.validation[number] for number in order]),
        compute_loss_func=_checked_mean(goal, setup.objective),
        compute_metrics=_as_compute_metrics(goal, order),
        callbacks=[
            EarlyStoppingCallback(early_stopping_patience=config.patience),
            _MarkWholeCheckpoints(),
            ProgressBar(title),
        ],
        preprocess_logits_for_metrics=keep,
    )
    trainer.count, trainer.objective = goal.count, setup.objective
    trainer.remove_callback(PrinterCallback)
    resume_from = _last_whole_checkpoint(scratch)
    if resume_from is not None:
        logger.info("%s: going on from %s", title, resume_from.name)
    with warnings.catch_warnings():
        # torch warns once that this scheduler and that loader were built before a resume.
        warnings.simplefilter("ignore", UserWarning)
        trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
    model.eval()
    if setup.units and head:
        to_label_unit(model, head, setup.units)
    return outcome_of(trainer.state, precision)


def _arguments(
    setup: TrainingSetup,
    goal: Goal,
    config: TrainingConfig,
    precision: str,
    *,
    scratch: Path,
    context: ModelContext,
) -> TrainingArguments:
    steps_per_epoch = max(
        1, math.ceil(len(setup.training) / config.batch_size / config.gradient_accumulation)
    )
    interval = max(
        1, math.ceil(steps_per_epoch * min(config.epochs, 1) / config.evaluations_per_epoch)
    )
    return TrainingArguments(
        output_dir=str(scratch),
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation,
        learning_rate=config.learning_rate,
        warmup_steps=config.warmup,  # a float below 1 is a part of all steps
        lr_scheduler_type="linear",
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        train_sampling_strategy="group_by_length",
        eval_strategy="steps",
        eval_steps=interval,
        save_strategy="steps",
        save_steps=interval,
        save_total_limit=2,
        logging_steps=_logging_interval(interval),
        logging_nan_inf_filter=False,
        load_best_model_at_end=True,
        metric_for_best_model=goal.best,
        greater_is_better=goal.greater_is_better,
        bf16=precision == "bf16",
        # Without it the Trainer takes bf16 to be a mistake on a machine without a GPU.
        use_cpu=precision == "bf16" and not context.device.is_cuda,
        seed=context.seed,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=context.device.is_cuda,
    )


class _ItemTrainer(Trainer):
    """A Trainer that counts a goal's own items in all batches of a step, and keeps an order."""

    count: Callable[[Tensor], Tensor] | None = None
    objective: Objective

    # Any: transformers' own types.
    def compute_loss(
        self,
        model: Any,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the loss, and the outputs where they are wanted; hidden states are such, too."""
        if not self.objective.is_read or self.compute_loss_func is None:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        labels = inputs.pop("labels")
        with self.accelerator.autocast():
            outputs = self.objective.outputs(model, inputs)
            loss = self.compute_loss_func(outputs, labels, num_items_in_batch=num_items_in_batch)
        return (loss, {"outputs": outputs}) if return_outputs else loss

    def _get_eval_sampler(self, eval_dataset: Any) -> Sampler[int]:
        return SequentialSampler(eval_dataset)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> tuple[list[Any], Any]:
        """Return the batches of a step, and the number of items in them."""
        batches, items = super().get_batch_samples(*args, **kwargs)
        if self.count is not None and batches:
            counts = [self.count(batch["labels"]) for batch in batches]
            items = torch.stack(counts).sum(dim=0).to(self.args.device)
        return batches, items


def _checked_mean(goal: Goal, objective: Objective) -> Callable[..., Tensor]:
    """Return the Trainer's loss: the mean over the items of all accumulated batches.

    Where examples are the items, ``num_items_in_batch`` counts the numbers in ``labels``, of which
    an example may have several.
    """
    calls = 0

    def mean_loss(result: Any, labels: Tensor, num_items_in_batch: Tensor | None = None) -> Tensor:
        nonlocal calls
        calls += torch.is_grad_enabled()
        outputs = result if isinstance(result, Tensor) else objective.outputs_in(result)
        per_example = goal.loss(outputs, labels)  # (B,), or (B, columns of items)
        if not torch.isfinite(per_example).all():
            raise InputError(_why_not_finite(outputs, calls))
        if goal.count is not None:
            # While it validates, transformers counts numbers of the labels instead of items.
            items = num_items_in_batch
            if items is None or not torch.is_grad_enabled():
                items = goal.count(labels)
            return (per_example.sum(dim=0) / items.clamp(min=1)).sum()
        numbers_per_example = labels[0].numel()
        examples = (
            len(labels) if num_items_in_batch is None else num_items_in_batch / numbers_per_example
        )
        return per_example.sum() / examples

    return mean_loss


def _why_not_finite(outputs: Tensor, batch: int) -> str:
    cause = (
        "the loss itself overflowed on finite outputs"
        if torch.isfinite(outputs).all()
        else "the model's outputs are not finite: its weights diverged, or were so before"
    )
    return (
        f"The loss is not finite at batch {batch} of this training: {cause}. Lower the learning "
        "rate, lengthen the warm-up, or check the checkpoint and the targets."
    )


def _as_compute_metrics(
    goal: Goal, order: np.ndarray
) -> Callable[[EvalPrediction], dict[str, float]]:
    """Return the Trainer's metrics.

    Args:
        goal: Whose metrics are measured.
        order: Number of the example that each of the Trainer's rows is.
    """
    back = np.argsort(order)

    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        outputs = prediction.predictions
        if isinstance(outputs, tuple):  # several named outputs
            outputs = np.stack(outputs, axis=-1)
        return goal.metrics(np.asarray(outputs)[back], np.asarray(prediction.label_ids)[back])

    return compute_metrics


def _logging_interval(interval: int) -> int:
    """Return about a quarter of the steps between checkpoints, and a divisor of them.

    The Trainer forgets at a resume what it has summed up of the loss since it logged it: logged at
    every checkpoint, the curve of a resumed training is that of an undisturbed one.
    """
    return max(step for step in range(1, max(1, interval // 4) + 1) if interval % step == 0)


def _last_whole_checkpoint(scratch: Path) -> Path | None:
    """Return the newest checkpoint with its marker; checkpoints without one are removed."""
    whole: list[Path] = []
    for folder in scratch.glob("checkpoint-*"):
        if (folder / _WHOLE).is_file():
            whole.append(folder)
        else:
            shutil.rmtree(folder)
    return max(whole, key=lambda folder: int(folder.name.removeprefix("checkpoint-")), default=None)


class _MarkWholeCheckpoints(TrainerCallback):
    """Writes the marker into a checkpoint after all else of it is on disk."""

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        write_atomic(folder / _WHOLE, "")
