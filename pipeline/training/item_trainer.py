"""The transformers Trainer, for losses that are means over a goal's own items.

Several processes train exactly as one does. Each takes its part of every batch, and divides its
loss by the items of all processes. Gradients are summed before each step. Accelerate starts the
processes together, and saves and logs in the first one. Its wrapper of the model is not used. It
would average gradients over parts of different size, and miss losses that read more than the
model's outputs.

Shapes: B = batch.
"""

from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import Trainer

from models.losses import Objective
from models.processes import add_up, count_processes, own_part
from pipeline.errors import InputError
from pipeline.training.encoding import Example
from pipeline.training.epoch_batches import EpochBatches
from pipeline.training.goal import Goal
from pipeline.training.memory import is_out_of_memory


class ItemLoss:
    """Mean loss over the items of all batches of a step, and of a validation."""

    def __init__(self, goal: Goal, objective: Objective) -> None:
        self.goal = goal
        self.objective = objective
        self.batches = 0
        self.sums: list[tuple[Tensor, Tensor]] = []
        """Losses and items of each validation batch so far."""

    # Any: each task's model has its own type of result.
    def __call__(
        self, result: Any, labels: Tensor, num_items_in_batch: Tensor | None = None
    ) -> Tensor:
        """Return the batch's part of the step's mean.

        Raises:
            InputError: when the loss is not finite.
        """
        self.batches += torch.is_grad_enabled()
        outputs = result if isinstance(result, Tensor) else self.objective.outputs_in(result)
        per_example = self.goal.loss(outputs, labels)  # (B,), or (B, columns of items)
        if not torch.isfinite(per_example).all():
            raise InputError(_why_not_finite(outputs, self.batches))
        sums, items = per_example.sum(dim=0), num_items_in_batch
        if items is None or not torch.is_grad_enabled():
            items = self.count(labels).to(sums.device)
            self.sums.append((sums.detach().cpu().double(), items.cpu().double()))
        return (sums / items.clamp(min=1)).sum()

    def count(self, labels: Tensor) -> Tensor:
        """Return the number of items of a batch for each column of the loss."""
        return torch.tensor(len(labels)) if self.goal.count is None else self.goal.count(labels)

    def validated(self) -> float:
        """Return the mean over all items of all processes since the last call."""
        losses = add_up(torch.stack([loss for loss, _ in self.sums]).sum(dim=0))
        items = add_up(torch.stack([items for _, items in self.sums]).sum(dim=0))
        self.sums = []
        return float((losses / items.clamp(min=1)).sum())


class ItemTrainer(Trainer):
    """Trainer that counts a goal's items and keeps our order of examples."""

    loss: ItemLoss
    objective: Objective
    # This process's part of the current step, where there are several processes.
    own_loss: float = 0.0
    lacks_memory: bool = False

    def create_accelerator_and_postprocess(self) -> None:
        """Set up Accelerate without its own exchange of gradients, which happens here, once."""
        super().create_accelerator_and_postprocess()
        if count_processes() > 1:
            accelerator = cast(Any, self.accelerator)
            accelerator.prepare_model = partial(accelerator.prepare_model, evaluation_mode=True)
            accelerator.pad_across_processes = accelerator.gather_for_metrics = _unchanged
            self.gather_function = _unchanged

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return this process's part of all batches."""
        examples = cast(list[Example], self.train_dataset)
        size = self.args.per_device_train_batch_size
        batches = EpochBatches(
            examples,
            batch_size=size,
            step_size=size * self.args.gradient_accumulation_steps,
            seed=self.args.seed,
        )
        return DataLoader(
            cast(Any, examples),
            batch_sampler=batches,
            collate_fn=self._collate,
            pin_memory=self.args.dataloader_pin_memory,
        )

    # Any: the Trainer's own type of a data set.
    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """Return this process's part of the validation rows, in their order."""
        return DataLoader(
            cast(Any, own_rows(cast(list[Example], self.eval_dataset))),
            batch_size=self.args.eval_batch_size,
            collate_fn=self._collate,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def _collate(self, examples: list[Example]) -> dict[str, Tensor]:
        collated: dict[str, Tensor] = self.data_collator(examples) if examples else {}
        return collated

    # Any: transformers' own types.
    def compute_loss(
        self,
        model: Any,
        inputs: Any,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return the loss, and on request the outputs, which may be hidden states."""
        if not self.objective.is_read:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        labels = inputs.pop("labels")
        with self.accelerator.autocast():
            outputs = self.objective.outputs(model, inputs)
            loss = self.loss(outputs, labels, num_items_in_batch=num_items_in_batch)
        return (loss, {"outputs": outputs}) if return_outputs else loss

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: Any) -> Any:
        """Return the items of a step, in all processes."""
        if not batch_samples:
            return None
        counts = [self.loss.count(batch["labels"]) for batch in batch_samples if batch]
        if not counts:
            one = self._collate([cast(list[Example], self.train_dataset)[0]])
            counts = [torch.zeros_like(self.loss.count(one["labels"]))]
        return add_up(torch.stack(counts).sum(dim=0).to(device))

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """Add a batch's gradients, and before the step those of all processes.

        Raises:
            torch.OutOfMemoryError: in all processes, when the memory of one ran out.
        """
        if count_processes() == 1:
            return super().training_step(model, inputs, num_items_in_batch)
        try:
            if inputs:
                self.own_loss += float(super().training_step(model, inputs, num_items_in_batch))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            self.lacks_memory = True  # the others must know, or they would wait for ever
        total = self._add_up_gradients() if self.accelerator.sync_gradients else 0.0
        return torch.tensor(total, device=self.args.device)

    def _add_up_gradients(self) -> float:
        """Sum the gradients of all processes, in place, and return the step's loss."""
        model = cast(torch.nn.Module, self.model)
        parameters = [each for each in model.parameters() if each.requires_grad]
        used = [float(each.grad is not None) for each in parameters]
        said = torch.tensor(
            [float(self.lacks_memory), self.own_loss, *used],
            dtype=torch.float64,
            device=self.args.device,
        )
        lacking, loss, *users = add_up(said).tolist()
        self.own_loss, self.lacks_memory = 0.0, False
        if lacking:
            raise torch.OutOfMemoryError("out of memory in one of the processes")
        for parameter, count in zip(parameters, users, strict=True):
            if count:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                add_up(parameter.grad)
        return float(loss)


def own_rows(rows: list[Any]) -> list[Any]:
    """Return this process's part of the validation rows, or all where a process would get none.

    Then every process has every row, so that no mean changes.
    """
    return rows if len(rows) < count_processes() else list(own_part(rows))


def _unchanged(values: Any, **_: Any) -> Any:
    return values


def _why_not_finite(outputs: Tensor, batch: int) -> str:
    cause = (
        "the loss itself overflowed on finite outputs"
        if torch.isfinite(outputs).all()
        else "the model's outputs are not finite: its weights diverged, or were not finite before"
    )
    return (
        f"The loss is not finite at batch {batch} of this training: {cause}. Lower the learning "
        "rate, lengthen the warm-up, or check the checkpoint and the targets."
    )
