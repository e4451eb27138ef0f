import pytest
import torch
from pydantic import ValidationError
from torch import nn

from pipeline.checkpoints.compute import find_compute, place
from pipeline.config import ComputeConfig
from pipeline.errors import InputError
from pipeline.facts.compute import Compute

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")


@without_gpu
def test_auto_takes_the_cpu_where_there_is_no_gpu():
    compute = find_compute()

    assert compute.device == "cpu"
    assert not compute.is_cuda
    assert compute.memory_bytes > 2**30


def test_cpu_is_taken_where_it_is_named():
    assert find_compute(ComputeConfig(device="cpu")).device == "cpu"


@without_gpu
@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:1", "mps"])
def test_device_that_is_not_there_is_refused_with_those_that_are(device):
    if device == "mps" and torch.backends.mps.is_available():
        pytest.skip("this is a Mac")
    with pytest.raises(InputError, match=f'compute.device = "{device}".*Found: cpu') as refused:
        find_compute(ComputeConfig(device=device))

    assert torch.__version__ in str(refused.value)


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "CPU", "cuda:-1", ""])
def test_word_that_names_no_device_is_refused(device):
    with pytest.raises(ValidationError, match=r"device"):
        ComputeConfig(device=device)


def test_model_is_placed_where_it_is():
    model = nn.Linear(2, 2)
    weight = model.weight

    assert place(model, Compute()) is model
    assert model.weight is weight


def test_gpu_is_described_with_its_name_and_memory():
    gpu = Compute(device="cuda:1", name="A card", memory_bytes=80 * 2**30)

    assert gpu.is_cuda
    assert str(gpu) == gpu.described == "cuda:1 (A card, 80.0 GiB)"


def test_facts_of_a_stage_are_the_same_on_machines_of_any_memory():
    small, large = (Compute(memory_bytes=size * 2**30) for size in (8, 64))

    assert str(small) == str(large) == "cpu"
    assert large.described == "cpu, 64.0 GiB of memory"
