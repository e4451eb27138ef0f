"""The files of a checkpoint, for those who change them.

``SAME``: the same model, so the same outputs. ``BACKBONE``: the same backbone under a new head.
``REFUSED``: one message. ``ANOTHER``: a sound model of its own, which strict loading agrees with.
"""

import json
import random
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

SAME, BACKBONE, REFUSED, ANOTHER = "same", "backbone", "refused", "another"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
LABELS = ("negative", "neutral", "positive")

Tensors = dict[str, Tensor]
Change = Callable[[Path, random.Random], str]
"""(copy of a checkpoint, draws) -> what a reader must make of it."""


def is_head(name: str) -> bool:
    """Tell whether a tensor is outside of the backbone, the pooler included."""
    return name.startswith(("classifier.", "score.")) or "pooler" in name


def read_tensors(folder: Path) -> Tensors:
    """Return the tensors of a single weight file."""
    return load_file(folder / WEIGHTS)


def save_tensors(folder: Path, tensors: Tensors, name: str = WEIGHTS) -> None:
    """Write tensors to a weight file."""
    copies = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
    save_file(copies, folder / name, metadata={"format": "pt"})


def pick_tensor(tensors: Tensors, rng: random.Random, *, head: bool = False) -> str:
    """Return a tensor's name, of the backbone or of the head."""
    return rng.choice(sorted(name for name in tensors if is_head(name) == head))


def edit_json(folder: Path, name: str, **values: object) -> None:
    """Set keys of a JSON file."""
    path = folder / name
    said = json.loads(path.read_text()) | values
    path.write_text(json.dumps(said))


def read_settings(folder: Path) -> dict[str, object]:
    """Return what config.json says."""
    return json.loads((folder / "config.json").read_text())
