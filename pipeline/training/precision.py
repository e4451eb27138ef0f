"""The number format of a training: fp32, or bf16 where the hardware is faster with it."""

import math
import time
from typing import Any

import torch

from pipeline.checkpoints.context import Device
from pipeline.config import TrainingConfig
from pipeline.training.goal import Loss, TrainingSetup


def choose_precision(
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
                outputs = setup.objective.outputs(model, inputs)
            loss(outputs, labels).mean().backward()
            if on_gpu:
                torch.cuda.synchronize()
            seconds[name] = min(seconds[name], time.perf_counter() - started)
    model.zero_grad()
    return min(seconds, key=seconds.__getitem__)
