import pytest
import torch

from models.absorption import layerwise
from models.absorption.layerwise import Spill


@pytest.fixture(params=[0, 1000, 10**9], ids=["on disk", "some on disk", "in memory"])
def spill(request, tmp_path, monkeypatch):
    monkeypatch.setattr(layerwise, "NEAR_BYTES", request.param)
    return Spill(tmp_path / "spill", torch.device("cpu"))


def test_last_tensor_of_each_key_is_read_whatever_its_size(spill):
    generator = torch.Generator().manual_seed(0)
    expected = {}
    for turn in range(6):
        for index in range(8):
            size = (turn * index * 7 % 11, 3 + turn % 3)
            expected[index] = torch.randn(size, generator=generator)
            spill.write(index, expected[index])

    assert all(torch.equal(spill.read(index), tensor) for index, tensor in expected.items())
    assert spill.has(7)
    assert not spill.has(8)


def test_numbers_are_float32_and_masks_stay_masks(spill):
    mask = torch.tensor([[True, False], [True, True]])
    spill.write((0, "mask"), mask)
    spill.write((0, "numbers"), torch.ones(3, dtype=torch.float64))

    assert torch.equal(spill.read((0, "mask")), mask)
    assert spill.read((0, "numbers")).dtype == torch.float32


def test_tensor_that_is_no_larger_takes_the_room_of_the_one_before(tmp_path, monkeypatch):
    monkeypatch.setattr(layerwise, "NEAR_BYTES", 0)
    spill = Spill(tmp_path / "spill", torch.device("cpu"))

    for _ in range(10):
        spill.write(0, torch.ones(50))
        spill.write(1, torch.ones(20))

    assert spill.far_bytes == 4 * 70
