"""Random changes of a checkpoint's folder, each with what a reader must make of it."""

import random
from dataclasses import dataclass
from pathlib import Path

from support.checkpoint_files import Change
from support.config_changes import CONFIG_CHANGES
from support.tensor_changes import TENSOR_CHANGES
from support.tokenizer_changes import TOKENIZER_CHANGES
from support.weight_file_changes import WEIGHT_FILE_CHANGES


@dataclass(frozen=True, kw_only=True)
class Changed:
    """A change of a folder."""

    name: str
    verdict: str


def change_checkpoint(folder: Path, number: int) -> Changed:
    """Change a sound copy in place, by the number of a change."""
    rng = random.Random(f"checkpoint {number}")
    names = list(CHANGES)
    name = names[number % len(names)]
    return Changed(name=name, verdict=CHANGES[name](folder, rng))


CHANGES: dict[str, Change] = {
    function.__name__.strip("_"): function
    for function in (
        *TENSOR_CHANGES,
        *WEIGHT_FILE_CHANGES,
        *CONFIG_CHANGES,
        *TOKENIZER_CHANGES,
    )
}
"""Changes by name."""
