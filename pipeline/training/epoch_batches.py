"""The batches of each epoch, in an order that depends on seed and epoch alone.

A killed training that continues therefore takes the same steps on the same examples. This holds for
another number of processes and for smaller batches too.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices

from models.processes import own_part
from pipeline.training.encoding import Example


class EpochBatches(Sampler[list[int]]):
    """Batches of examples of similar length, of which each process gets its part."""

    def __init__(
        self, examples: Sequence[Example], *, batch_size: int, step_size: int, seed: int
    ) -> None:
        self.lengths = [len(example["input_ids"]) for example in examples]
        self.batch_size = batch_size  # examples of all processes together
        self.step_size = step_size  # the same, of an optimizer's step
        self.seed = seed
        self.epoch = 0

    @property
    def batch_sampler(self) -> "EpochBatches":
        """This sampler itself, under the name whose `set_epoch` the Trainer calls."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Return the number of batches."""
        return math.ceil(len(self.lengths) / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the numbers of this process's examples in each batch, none if a batch is tiny."""
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        # Any: the stubs allow only a list of tensors for the lengths.
        lengths: Any = self.lengths
        order = get_length_grouped_indices(lengths, self.step_size, generator=generator)
        for start in range(0, len(order), self.batch_size):
            yield list(own_part(order[start : start + self.batch_size]))
