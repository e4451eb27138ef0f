"""Devices: which one a run takes, and models on it.

Results of two devices differ by rounding alone, so no stage's key names a device.
"""

import os

import torch
from transformers import PreTrainedModel

from pipeline.config import ComputeConfig
from pipeline.errors import InputError
from pipeline.facts.compute import Compute


def find_compute(config: ComputeConfig | None = None) -> Compute:
    """Return the device that a config names; by default the first NVIDIA GPU, else the CPU.

    Raises:
        InputError: when the device is not there, with the devices that are.
    """
    config = config or ComputeConfig()
    wanted, processes = config.device, config.processes
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "auto":
        wanted = "cuda" if gpus else "cpu"
    there = ["cpu", *(f"cuda:{number}" for number in range(gpus))]
    if torch.backends.mps.is_available():
        there.append("mps")
    device = "cuda:0" if wanted == "cuda" else wanted
    if processes > 1 and (wanted.startswith("cuda:") or wanted == "mps"):
        raise InputError(
            f'compute.device = "{wanted}" is one device, and compute.processes = {processes} need '
            'as many. Set compute.device to "cuda" or "cpu", or compute.processes to 1.'
        )
    if device == "cuda:0" and processes > gpus > 0:
        raise InputError(
            f"compute.processes = {processes}: each process needs a GPU of its own, found {gpus}. "
            "Set compute.processes to at most that."
        )
    if device not in there:
        raise InputError(
            f'compute.device = "{wanted}": torch {torch.__version__} finds no such device here. '
            f"Found: {', '.join(there)}. Name one of these, or install a torch that is built for "
            "the device, and its driver."
        )
    if device.startswith("cuda"):
        properties = torch.cuda.get_device_properties(device)
        return Compute(
            device=device,
            name=properties.name,
            memory_bytes=int(properties.total_memory),
            processes=processes,
        )
    return Compute(device=device, memory_bytes=_memory_bytes(), processes=processes)


def place(model: PreTrainedModel, compute: Compute) -> PreTrainedModel:
    """Return a model on the device, in place; on the CPU nothing happens."""
    # The class's own method: transformers' has no type.
    torch.nn.Module.to(model, compute.device)
    return model


def _memory_bytes() -> int:
    """Return the machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
