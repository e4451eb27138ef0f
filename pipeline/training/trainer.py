"""One training by gradient descent: the transformers Trainer, set up for teacher and student alike.

A caller gives its model, its examples and a loss per example. What an example's ``labels`` hold is
between the caller and its loss: a label, or a label and the teacher's outputs.

Killed and started again with the same scratch folder, training goes on from its last whole
checkpoint: a checkpoint counts once a marker file, written last, stands in it.
"""

import logging
import math
import shutil
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from transformers import (
    DataCollatorWithPadding,
    EarlyStoppingCallback,
    EvalPrediction,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from models.losses import Objective
from models.units import Units, to_label_unit, to_standard_units
from pipeline.checkpoints.context import Device, ModelContext
from pipeline.checkpoints.pretrained import find_architecture
from pipeline.config import TrainingConfig
from pipeline.errors import InputError
from pipeline.facts.training import Point, TrainingOutcome
from pipeline.store.files import write_atomic
from pipeline.training.encoding import Example
from pipeline.training.progress import ProgressBar

logger = logging.getLogger(__name__)

Loss = Callable[[Tensor, Tensor], Tensor]
"""(outputs, labels) -> one value per example."""

_WHOLE = "checkpoint-is-whole"


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSetup:
    """A model before its training, and its examples."""

    model: PreTrainedModel
    """Its dropout is the caller's choice."""
    tokenizer: PreTrainedTokenizerBase
    objective: Objective
    training: Sequence[Example]
    """Token ids, masks and ``labels`` of each example, in the label's unit."""
    validation: Sequence[Example]
    units: Units | None = None
    """Standard units that the head trains in; None where its outputs have no unit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """What a training minimises, and what it is judged by."""

    loss: Loss
    """The mean over the step's examples is minimised, in standard units where there are some."""
    metrics: Callable[[np.ndarray, np.ndarray], dict[str, float]]
    """(outputs, labels) of the whole validation split, in the label's unit -> named values."""
    best: str
    """The metric that decides which weights are kept and when to stop."""
    greater_is_better: bool


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
    setup, goal = _in_standard_units(setup, goal)
    collate = DataCollatorWithPadding(setup.tokenizer)
    head = setup.objective.head(find_architecture(model)) if setup.units else None
    if setup.units and head:
        to_standard_units(model, head, setup.units)
    batch = collate([setup.training[0]] * config.batch_size)
    precision = _choose_precision(config, setup, batch, goal.loss, context.device)
    trainer = Trainer(
        model=model,
        args=_arguments(setup, goal, config, precision, scratch=scratch, context=context),
        data_collator=collate,
        train_dataset=cast(Any, setup.training),
        eval_dataset=cast(Any, setup.validation),
        compute_loss_func=_checked_mean(goal.loss, setup.objective),
        compute_metrics=_as_compute_metrics(goal),
        callbacks=[
            EarlyStoppingCallback(early_stopping_patience=config.patience),
            _MarkWholeCheckpoints(),
            ProgressBar(title),
        ],
    )
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
    return _outcome(trainer.state, precision)


def _in_standard_units(setup: TrainingSetup, goal: Goal) -> tuple[TrainingSetup, Goal]:
    """Return the setup with standardised labels, and the goal with metrics of the label's unit."""
    units = setup.units
    if units is None:
        return setup, goal

    def standardised(examples: Sequence[Example]) -> list[Example]:
        return [
            {**each, "labels": units.standardise(np.asarray(each["labels"])).tolist()}
            for each in examples
        ]

    def metrics(outputs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        return goal.metrics(units.restore(outputs), units.restore(labels))

    training, validation = standardised(setup.training), standardised(setup.validation)
    return replace(setup, training=training, validation=validation), replace(goal, metrics=metrics)


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


def _checked_mean(loss: Loss, objective: Objective) -> Callable[..., Tensor]:
    """Return the Trainer's loss: the mean over the examples of all accumulated batches.

    ``num_items_in_batch`` counts the numbers in ``labels``, of which an example may have several.
    """
    calls = 0

    def mean_loss(result: Any, labels: Tensor, num_items_in_batch: Tensor | None = None) -> Tensor:
        nonlocal calls
        calls += torch.is_grad_enabled()
        outputs = objective.outputs(result)
        per_example = loss(outputs, labels)  # (B,)
        if not torch.isfinite(per_example).all():
            raise InputError(_why_not_finite(outputs, calls))
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


def _as_compute_metrics(goal: Goal) -> Callable[[EvalPrediction], dict[str, float]]:
    return lambda prediction: goal.metrics(
        np.asarray(prediction.predictions), np.asarray(prediction.label_ids)
    )


def _choose_precision(
    config: TrainingConfig, setup: TrainingSetup, batch: Any, loss: Loss, device: Device
) -> str:
    """Return ``bf16`` or ``fp32``; ``auto`` tries a step of each where bf16 is in hardware."""
    if config.precision != "auto":
        return config.precision
    on_gpu = device.is_cuda
    # torch reports the CPU's instructions under these names only.
    capable = torch.cuda.is_bf16_supported() if on_gpu else torch.cpu._is_avx512_bf16_supported()
    if not capable:
        return "fp32"
    model = setup.model
    torch.nn.Module.to(model, device.name)
    inputs = {name: tensor.to(device.name) for name, tensor in batch.items()}
    labels = inputs.pop("labels")
    seconds = {"fp32": math.inf, "bf16": math.inf}
    for _ in range(3):
        for name in seconds:
            started = time.perf_counter()
            with torch.autocast(
                torch.device(device.name).type, torch.bfloat16, enabled=name == "bf16"
            ):
                outputs = setup.objective.outputs(model(**inputs))
            loss(outputs, labels).mean().backward()
            if on_gpu:
                torch.cuda.synchronize()
            seconds[name] = min(seconds[name], time.perf_counter() - started)
    model.zero_grad()
    return min(seconds, key=seconds.__getitem__)


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


def _outcome(state: TrainerState, precision: str) -> TrainingOutcome:
    points: dict[int, dict[str, Any]] = {}
    for entry in state.log_history:
        point = points.setdefault(int(entry["step"]), {})
        if "loss" in entry:
            point.update(train_loss=entry["loss"], learning_rate=entry["learning_rate"])
        measured = {
            name.removeprefix("eval_"): float(value)
            for name, value in entry.items()
            if name.startswith("eval_") and not name.endswith(("_runtime", "_per_second"))
        }
        if measured:
            point["validation"] = measured
    return TrainingOutcome(
        steps=state.global_step,
        best_step=state.best_global_step or state.global_step,
        best_metric=float(state.best_metric or 0.0),
        precision=precision,
        curve=tuple(Point(step=step, **point) for step, point in sorted(points.items()) if point),
    )


class _MarkWholeCheckpoints(TrainerCallback):
    """Writes the marker into a checkpoint after all else of it is on disk."""

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        write_atomic(folder / _WHOLE, "")
