"""Fixtures: checkpoints as the adapters library writes them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch


def write_hub_adapter(folder: Path, name: str, *, head: bool = True, seed: int = 0) -> Path:
    """Write a checkpoint as the adapters library does, for D = 32 and two layers."""
    folder.mkdir(parents=True)

    def draw(*shape: int, seed: int) -> torch.Tensor:
        return 0.3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))

    config = {
        "mh_adapter": False,
        "output_adapter": True,
        "original_ln_before": True,
        "non_linearity": "relu",
        "reduction_factor": 8,
    }
    meta = {"hidden_size": 32, "model_type": "bert", "name": name, "version": "adapters.1.3.0"}
    (folder / "adapter_config.json").write_text(json.dumps(meta | {"config": config}))
    tensors = {}
    for layer in (0, 1):
        prefix = f"bert.encoder.layer.{layer}.output.adapters.{name}"
        tensors |= {
            f"{prefix}.adapter_down.0.weight": draw(4, 32, seed=seed + layer),
            f"{prefix}.adapter_down.0.bias": draw(4, seed=seed + layer + 10),
            f"{prefix}.adapter_up.weight": draw(32, 4, seed=seed + layer + 20),
            f"{prefix}.adapter_up.bias": draw(32, seed=seed + layer + 30),
        }
    torch.save(tensors, folder / "pytorch_adapter.bin")
    if head:
        numbers = {"negative": 0, "positive": 1}
        (folder / "head_config.json").write_text(json.dumps({"config": None, "label2id": numbers}))
        torch.save(
            {"classifier.weight": draw(2, 32, seed=5), "classifier.bias": draw(2, seed=6)},
            folder / "pytorch_model_head.bin",
        )
    return folder


@pytest.fixture(scope="session")
def hub_adapter() -> Callable[..., Path]:
    """``hub_adapter(folder, name, head=True, seed=0)``: an AdapterHub checkpoint."""
    return write_hub_adapter
