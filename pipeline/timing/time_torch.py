"""A process that times an adapter teacher in PyTorch, as its users run it today.

It is the first rung of the latency ladder. It runs in eager mode, with transformers' own choice of
attention and one thread. Every block loads the model anew, as `pipeline.timing.time_cell` does with
its sessions. No other module of the benchmark imports torch. It is a process of its own, because
torch and onnxruntime in one process wait for one another's threads.

Shapes: B = batch, T = tokens.
"""

import random
from functools import partial
from pathlib import Path

import torch

from pipeline.checkpoints.pretrained import Checkpoint, find_checkpoint
from pipeline.checkpoints.teachers import load_teacher, read_teacher
from pipeline.config import ModelConfig
from pipeline.timing.blocks import Block, Call, read_specification, serve_blocks, time_block
from pipeline.timing.torch_teacher import TorchSpec


def measure_torch_block(spec: TorchSpec, rng: random.Random) -> Block:
    """Return one block: a fresh model, warmed up, then timed."""
    model = load_teacher(_find_backbone(spec), Path(spec.teacher))
    runs: list[Call] = []
    for rows in spec.calls:
        ids = torch.tensor(rows)  # (B, T)
        runs.append(partial(model, input_ids=ids, attention_mask=torch.ones_like(ids)))
    with torch.inference_mode():
        for _ in range(-(-spec.warmup_runs // len(runs))):
            for run in runs:
                run()
        return time_block({spec.arm: runs}, rounds=spec.rounds, rng=rng)


def _find_backbone(spec: TorchSpec) -> Checkpoint:
    if spec.backbone is not None:
        return Checkpoint(folder=Path(spec.backbone), digest="")
    return find_checkpoint(ModelConfig(model=read_teacher(Path(spec.teacher)).backbone))


if __name__ == "__main__":
    specification = TorchSpec(**read_specification())
    torch.set_num_threads(1)
    serve_blocks(partial(measure_torch_block, specification, random.Random(specification.seed)))
