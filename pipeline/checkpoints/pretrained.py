"""Pretrained models on disk, found by reference.

Weights are safetensors, and ``trust_remote_code`` is never given: nothing that is loaded runs.
"""

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import snapshot_download
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel

from models.architectures.architecture import Architecture
from models.architectures.table import UnknownArchitectureError, architecture_of
from pipeline.config import ModelConfig
from pipeline.errors import InputError, UnreachableError, refusing
from pipeline.store.digests import sha256_file, sha256_json
from pipeline.store.places import locate

_WANTED = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model"]
# Many have no safetensors; a .bin is read as weights only.
_WANTED_OF_ADAPTERS = ["*.safetensors", "*.bin", "*.json"]
_SHAPING = (
    *("config.json", "model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json"),
    *("special_tokens_map.json", "added_tokens.json", "vocab.txt", "vocab.json", "merges.txt"),
    *("spiece.model", "spm.model", "sentencepiece.bpe.model", "tokenizer.model"),
)
"""Files beside the weights that shape a model or its tokens."""
_STAGES_OF_TEACHERS = ("finetune", "fuse", "import")


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A pretrained model in a local folder."""

    folder: Path
    digest: str
    """sha256 over its config, its tokenizer and its weights."""
    reference: str = ""
    """Reference that finds it again: a hub id, a package reference or an absolute path."""

    def key(self) -> str:
        """Return what a stage's key holds of a checkpoint: its content, wherever it is."""
        return self.digest


def find_checkpoint(config: ModelConfig) -> Checkpoint:
    """Return the local folder of a model, fetched from the hub where it is an id.

    Raises:
        InputError: when it cannot be found, has no safetensors weights, or has other weights
            than the config's sha256 says.
    """
    folder = locate(config.model) or _fetch(config.model, _WANTED)
    weights = sorted(path for path in folder.glob("*.safetensors") if path.is_file())
    if not weights or not (folder / "config.json").is_file():
        raise InputError(
            f"{config.model} is not a readable model: expected a folder with config.json and "
            f"*.safetensors weights at {folder}. Save the model with save_pretrained."
        )
    digests = {path.name: sha256_file(path) for path in weights}
    found = next(iter(digests.values())) if len(digests) == 1 else sha256_json(digests)
    if config.sha256 not in (None, found):
        raise InputError(
            f"The weights of {config.model} have the sha256 {found}, expected {config.sha256}. "
            "Get the file that was meant, or correct the sha256 in the config."
        )
    for name in _SHAPING:
        if (folder / name).is_file():
            digests[name] = sha256_file(folder / name)
    own_path = locate(config.model) is not None and "://" not in config.model
    return Checkpoint(
        folder=folder,
        digest=sha256_json(digests),
        reference=str(folder.resolve()) if own_path else config.model,
    )


def find_adapter_folder(reference: str) -> Path:
    """Return the local folder of a teacher or an AdapterHub checkpoint, which the hub may have.

    Raises:
        InputError: when it cannot be found.
    """
    found = locate(reference)
    _, ending, stage = reference.rpartition(".")
    if found is None and ending and stage in _STAGES_OF_TEACHERS:
        raise InputError(
            f"{reference} does not exist (looked in {Path.cwd()}). A path of this form is made by "
            f"adapter-distill run CONFIG --until {stage}. Run that first, or correct the name."
        )
    return found or _fetch(reference, _WANTED_OF_ADAPTERS)


def read_model_config(checkpoint: Checkpoint) -> PretrainedConfig:
    """Return the config of a checkpoint's model.

    Raises:
        InputError: when it cannot be read.
    """
    with _reading_config(checkpoint):
        config: PretrainedConfig = AutoConfig.from_pretrained(
            checkpoint.folder, local_files_only=True, trust_remote_code=False
        )
        return config


def count_layers(checkpoint: Checkpoint) -> int:
    """Return how many layers a checkpoint's model has."""
    config = read_model_config(checkpoint)
    with _reading_config(checkpoint):
        return int(config.num_hidden_layers)


def count_positions(checkpoint: Checkpoint) -> int:
    """Return how many tokens a checkpoint's model has positions for."""
    config = read_model_config(checkpoint)
    with _reading_config(checkpoint):
        padding = padding_of_positions(config)
        return int(config.max_position_embeddings) - (0 if padding is None else padding + 1)


def padding_of_positions(config: PretrainedConfig) -> int | None:
    """Return the padding id after which a model numbers its positions; None if it does not."""
    if config.model_type == "mpnet":  # whatever its config says
        return 1
    return config.pad_token_id if config.model_type in ("roberta", "xlm-roberta") else None


def find_architecture(model: PreTrainedModel) -> Architecture:
    """Return the table's entry for a model.

    Raises:
        InputError: when no adapter sites are known for the architecture.
    """
    try:
        architecture = architecture_of(model.config.model_type)
    except UnknownArchitectureError as error:
        raise InputError(f"teacher.model: {error}") from error
    if reason := architecture.unsupported(model.config):
        raise InputError(
            f"teacher.model: this {model.config.model_type} model is not supported, because "
            f"{reason}. Choose one without."
        )
    return architecture


def _reading_config(checkpoint: Checkpoint) -> AbstractContextManager[None]:
    """Return what refuses a config that cannot be read, or lacks what every model has."""
    return refusing(
        f"Cannot read {checkpoint.folder / 'config.json'}",
        "Give a model saved with save_pretrained whose architecture this transformers version "
        "knows.",
    )


def _fetch(model_id: str, wanted: list[str]) -> Path:
    """Return the local snapshot of a hub model: weights and text files, never code."""
    try:
        return Path(snapshot_download(model_id, allow_patterns=wanted))
    # The hub client raises HTTP, network, cache and validation errors of several families.
    except Exception as error:
        offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
        raise UnreachableError(
            f"Cannot fetch the model {model_id!r} from the Hugging Face hub{offline}: "
            f"{str(error).splitlines()[0]} Check the id and the network, or give a local folder."
        ) from error
