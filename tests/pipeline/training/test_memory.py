import logging

import numpy as np
import pytest
import torch

from pipeline.errors import InputError
from pipeline.training.memory import in_smaller_batches, is_out_of_memory, run_in_batches


class Device:
    """A device with room for some rows, which a tiny module asks for."""

    def __init__(self, rows):
        self.rows, self.tried = rows, []

    def __call__(self, rows):
        count = rows if isinstance(rows, int) else len(rows)
        self.tried.append(count)
        if count > self.rows:
            raise torch.OutOfMemoryError(f"CUDA out of memory. Tried {count} rows.")
        return rows


@pytest.mark.parametrize(
    ("size", "room", "tried"),
    [(32, 32, [32]), (32, 9, [32, 16, 8]), (33, 20, [33, 11]), (7, 1, [7, 1]), (6, 3, [6, 3])],
)
def test_size_is_divided_until_it_fits(size, room, tried):
    device = Device(room)

    assert in_smaller_batches("work", size, device) == tried[-1]
    assert device.tried == tried


def test_smaller_batches_are_told(caplog):
    with caplog.at_level(logging.WARNING):
        in_smaller_batches("soft targets", 8, Device(4))

    assert "soft targets: memory ran out with 8 texts per batch (CUDA out of memory" in caplog.text
    assert "continuing with 4" in caplog.text


def test_single_text_that_does_not_fit_is_refused():
    with pytest.raises(InputError, match=r"single text per batch .*data\.max_length"):
        in_smaller_batches("work", 4, Device(0))


def test_rows_come_once_each_and_in_order_whatever_fits():
    device = Device(3)
    found = list(run_in_batches("work", np.arange(20), 8, device))

    assert np.concatenate([rows for rows, _ in found]).tolist() == list(range(20))
    assert all(np.array_equal(rows, result) for rows, result in found)
    assert device.tried[:3] == [8, 4, 2]
    assert max(device.tried[3:]) == 2  # what did not fit once is not tried again


def test_other_errors_pass():
    def fail(_size):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        in_smaller_batches("work", 8, fail)


def test_memory_of_any_device_is_known_by_its_message():
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"))
    assert is_out_of_memory(RuntimeError("[enforce] DefaultCPUAllocator: can't allocate memory"))
    assert not is_out_of_memory(ValueError("out of memory"))
