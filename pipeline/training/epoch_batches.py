"""The batches of each epoch: their order depends on the seed and the epoch, and on nothing else.

So a training that goes on after it was killed, on another number of processes or in smaller
batches, takes the same steps on the same examples.
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
    """Batches of examples of similar length; a process gets its part of each."""

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
        """This sampler, where the Trainer looks for what it tells the epoch to."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Return the number of batches."""
        return math.ceil(len(self.lengths) / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the numbers of this process's examples in each batch; none in a very small one."""
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        # Any: the stubs take a list of tensors alone for the lengths.
        lengths: Any = self.lengths
        order = get_length_grouped_indices(lengths, self.step_size, generator=generator)
        for start in range(0, len(order), self.batch_size):
            yield list(own_part(order[start : start + self.batch_size]))
