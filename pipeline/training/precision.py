"""Number format of a training: fp32, or bf16 where the hardware is faster with it."""

import logging
import math
import time
from typing import Any, NamedTuple

import torch

from pipeline.checkpoints.compute import place
from pipeline.config import TrainingConfig
from pipeline.facts.compute import Compute
from pipeline.training.goal import Loss, TrainingSetup

logger = logging.getLogger(__name__)


class ChosenPrecision(NamedTuple):
    """A precision, and the reason for it."""

    name: str
    """``bf16`` or ``fp32``."""
    why: str
    """Reason as a sentence, without measured times, which would differ between runs."""


def choose_precision(
    config: TrainingConfig, setup: TrainingSetup, batch: Any, loss: Loss, compute: Compute
) -> ChosenPrecision:
    """Return ``bf16`` or ``fp32``; ``auto`` times a step of each if the hardware has bf16."""
    if config.precision != "auto":
        return ChosenPrecision(config.precision, "The config names it.")
    if not _has_bf16(compute):
        return ChosenPrecision("fp32", f"{compute} has no instructions for bf16 products.")
    seconds = _time_steps(setup, batch, loss, compute)
    logger.info(
        "a training step takes %.1f ms in fp32, and %.1f ms in bf16",
        1000 * seconds["fp32"],
        1000 * seconds["bf16"],
    )
    if seconds["bf16"] < seconds["fp32"]:
        return ChosenPrecision("bf16", "A trial step was faster in bf16 than in fp32.")
    return ChosenPrecision("fp32", "A trial step was not faster in bf16 than in fp32.")


def _has_bf16(compute: Compute) -> bool:
    """Return whether a device multiplies bf16 numbers in hardware."""
    if compute.is_cuda:
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # torch reports the CPU's instructions only under these names.
    return compute.device == "cpu" and torch.cpu._is_avx512_bf16_supported()


def _time_steps(setup: TrainingSetup, batch: Any, loss: Loss, compute: Compute) -> dict[str, float]:
    """Return the seconds of the fastest of three steps in each precision."""
    model = place(setup.model, compute)
    inputs = {name: tensor.to(compute.device) for name, tensor in batch.items()}
    labels = inputs.pop("labels")
    kind = torch.device(compute.device).type
    seconds = {"fp32": math.inf, "bf16": math.inf}
    for _ in range(3):
        for name in seconds:
            started = time.perf_counter()
            with torch.autocast(kind, torch.bfloat16, enabled=name == "bf16"):
                outputs = setup.objective.outputs(model, inputs)
            loss(outputs, labels).mean().backward()
            if compute.is_cuda:
                torch.cuda.synchronize(compute.device)
            seconds[name] = min(seconds[name], time.perf_counter() - started)
    model.zero_grad()
    return seconds
