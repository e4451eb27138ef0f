"""One training by gradient descent: the transformers Trainer, set up for teacher and student alike.

A caller gives its model, its examples and a loss per example. Caller and loss agree on the content
of ``labels``, which is a label, or a label and the teacher's outputs.

A training that was killed continues from its last whole checkpoint, given the same scratch folder.
A checkpoint is whole if it has a marker file, which is written last.
"""

import logging
import math
import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor
from transformers import (
    EarlyStoppingCallback,
    EvalPrediction,
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from models.processes import exchange, is_first, own_number
from models.units import to_label_unit, to_standard_units
from pipeline.checkpoints.context import ModelContext
from pipeline.checkpoints.pretrained import find_architecture
from pipeline.config import TrainingConfig
from pipeline.facts.training import TrainingOutcome
from pipeline.store.files import write_atomic
from pipeline.training.encoding import collator
from pipeline.training.goal import Goal, TrainingSetup, in_standard_units, of_hidden
from pipeline.training.item_trainer import ItemLoss, ItemTrainer, own_rows
from pipeline.training.memory import in_smaller_batches
from pipeline.training.outcome import outcome_of
from pipeline.training.precision import ChosenPrecision, choose_precision
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
        setup: Model and examples.
        goal: Loss and metrics.
        config: Settings of the training.
        scratch: Folder for checkpoints.
        context: Its seed orders the batches and draws the dropout; its device trains.
        title: Text of the progress bar.

    Raises:
        InputError: when the loss is not finite, with the step and the cause.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    model = setup.model
    setup, goal = in_standard_units(setup, goal)
    head = setup.objective.head(find_architecture(model)) if setup.units else None
    if setup.units and head:
        to_standard_units(model, head, setup.units)
    goal, keep = of_hidden(setup, goal)
    attempt = _Attempt(setup, goal, config, keep, scratch=scratch, context=context, title=title)
    outcome = in_smaller_batches(title, config.batch_size, attempt)
    model.eval()
    if setup.units and head:
        to_label_unit(model, head, setup.units)
    return outcome


class _Attempt:
    """A training in batches of some size, from its start or its last whole checkpoint."""

    def __init__(
        self,
        setup: TrainingSetup,
        goal: Goal,
        config: TrainingConfig,
        keep: Callable[[Tensor, Tensor], Tensor] | None,
        *,
        scratch: Path,
        context: ModelContext,
        title: str,
    ) -> None:
        self.setup, self.goal, self.config, self.keep = setup, goal, config, keep
        self.scratch, self.context, self.title = scratch, context, title
        self.trained = {n: p for n, p in setup.model.named_parameters() if p.requires_grad}
        self.start = {n: p.detach().to("cpu", copy=True) for n, p in self.trained.items()}

    def __call__(self, batch_size: int) -> TrainingOutcome:
        """Train, with as many smaller batches per step as make up the config's batch."""
        with torch.no_grad():
            for name, parameter in self.trained.items():
                parameter.copy_(self.start[name])
        trainer, precision = self._trainer(batch_size)
        resume_from = exchange(_last_whole_checkpoint(self.scratch) if is_first() else None)[0]
        if resume_from is not None:
            logger.info("%s: continuing from %s", self.title, resume_from.name)
        with warnings.catch_warnings():
            # torch warns once that this scheduler and that loader were built before a resume.
            warnings.simplefilter("ignore", UserWarning)
            trainer.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
        return outcome_of(trainer.state, precision, self.context.compute)

    def _trainer(self, batch_size: int) -> tuple[ItemTrainer, ChosenPrecision]:
        setup, goal, config = self.setup, self.goal, self.config
        collate = collator(setup.tokenizer)
        batch = collate([setup.training[0]] * batch_size)
        compute = self.context.compute
        # By the first process's measurement, because all have to choose alike.
        precision = exchange(choose_precision(config, setup, batch, goal.loss, compute))[0]
        lengths = [len(each["input_ids"]) for each in setup.validation]
        # Rows of similar length are adjacent; their outputs return to the examples' order.
        order = np.argsort(lengths, kind="stable").tolist()
        loss = ItemLoss(goal, setup.objective)
        bars = [ProgressBar(self.title)] if is_first() else []
        trainer = ItemTrainer(
            model=setup.model,
            args=_arguments(
                setup,
                goal,
                _in_batches_of(batch_size, config),
                precision.name,
                scratch=self.scratch,
                context=self.context,
            ),
            data_collator=collate,
            train_dataset=cast(Any, setup.training),
            eval_dataset=cast(Any, [setup.validation[number] for number in order]),
            compute_loss_func=loss,
            compute_metrics=_as_compute_metrics(goal, loss, order),
            callbacks=[
                EarlyStoppingCallback(early_stopping_patience=config.patience),
                _MarkWholeCheckpoints(),
                *bars,
            ],
            preprocess_logits_for_metrics=self.keep,
        )
        trainer.loss, trainer.objective = loss, setup.objective
        trainer.remove_callback(PrinterCallback)
        if own_number():
            torch.manual_seed(self.context.seed + own_number())  # each draws its own dropout
        return trainer, precision


def _in_batches_of(size: int, config: TrainingConfig) -> TrainingConfig:
    """Return a config with equal steps, each of several batches of the smaller size."""
    parts = config.gradient_accumulation * (config.batch_size // size)
    return config.model_copy(update={"batch_size": size, "gradient_accumulation": parts})


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
    arguments = TrainingArguments(
        output_dir=str(scratch),
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation,
        learning_rate=config.learning_rate,
        warmup_steps=config.warmup,  # a float below 1 is a share of all steps
        lr_scheduler_type="linear",
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
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
        use_cpu=context.compute.device == "cpu",
        seed=context.seed,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=context.compute.is_cuda,
        average_tokens_across_devices=False,  # counts already include the items of all processes
    )
    if context.compute.is_cuda:
        _keep_to_one_gpu(arguments, context.compute.device)
    return arguments


def _keep_to_one_gpu(arguments: TrainingArguments, device: str) -> None:
    """Keep the Trainer to one GPU; by default it takes all, beginning with the first."""
    arguments._n_gpu = 1
    arguments.__dict__["_setup_devices"] = torch.device(device)
    PartialState().device = torch.device(device)
    torch.cuda.set_device(device)


def _as_compute_metrics(
    goal: Goal, loss: ItemLoss, order: list[int]
) -> Callable[[EvalPrediction], dict[str, float]]:
    """Return the Trainer's metrics function, for all rows and with the mean loss over their items.

    Args:
        goal: Goal whose metrics are measured.
        loss: Loss that has seen the rows.
        order: Number of the example for each of the Trainer's rows.
    """
    own = own_rows(order)

    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        outputs = prediction.predictions
        if isinstance(outputs, tuple):  # several named outputs
            outputs = np.stack(outputs, axis=-1)
        whole = [
            _in_order(exchange((own, np.asarray(rows))), len(order))
            for rows in (outputs, prediction.label_ids)
        ]
        return {**goal.metrics(*whole), "loss": loss.validated()}

    return compute_metrics


def _in_order(parts: Sequence[tuple[list[int], np.ndarray]], count: int) -> np.ndarray:
    """Return rows in the order of their numbers, padded as the Trainer pads them."""
    shape = np.max([rows.shape[1:] for _, rows in parts], axis=0).astype(int).tolist()
    whole = np.full((count, *shape), -100, dtype=parts[0][1].dtype)
    for numbers, rows in parts:
        place: tuple[Any, ...] = (numbers, *map(slice, rows.shape[1:]))
        whole[place] = rows
    return whole


def _logging_interval(interval: int) -> int:
    """Return a divisor of the steps between checkpoints that is about a quarter of them.

    At a resume, the Trainer loses the sum of losses since it last logged. With a log at every
    checkpoint, a resumed training has the curve of an undisturbed one.
    """
    return max(step for step in range(1, max(1, interval // 4) + 1) if interval % step == 0)


def _last_whole_checkpoint(scratch: Path) -> Path | None:
    """Return the newest checkpoint with a marker, and remove checkpoints without one."""
    whole: list[Path] = []
    for folder in scratch.glob("checkpoint-*"):
        if (folder / _WHOLE).is_file():
            whole.append(folder)
        else:
            shutil.rmtree(folder)
    return max(whole, key=lambda folder: int(folder.name.removeprefix("checkpoint-")), default=None)


class _MarkWholeCheckpoints(TrainerCallback):
    """Callback that writes the marker into a checkpoint after all its other files."""

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        exchange(None)  # after the last process has written its part
        if is_first():
            folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
            write_atomic(folder / _WHOLE, "")
