"""Pretrained models and their tokenizers on disk, found by reference.

Weights are safetensors, and ``trust_remote_code`` is never given: nothing that is loaded runs.
"""

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from huggingface_hub import snapshot_download
from pydantic import ConfigDict, TypeAdapter, with_config
from safetensors import safe_open
from transformers import (
    AutoConfig,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from models.architectures.architecture import Architecture
from models.architectures.heads import Head
from models.architectures.table import UnknownArchitectureError, architecture_of
from models.losses import Objective
from models.teacher import is_head_parameter
from pipeline.checkpoints.tensors import first_of
from pipeline.config import ModelConfig
from pipeline.errors import InputError, UnreachableError, refusing
from pipeline.store.digests import sha256_file, sha256_json
from pipeline.store.reading import read_json
from pipeline.texts.sources import locate

_WANTED = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model"]
# Many have no safetensors; a .bin is read as weights only.
_WANTED_OF_ADAPTERS = ["*.safetensors", "*.bin", "*.json"]
_STAGES_OF_TEACHERS = ("finetune", "fuse", "import")
# These number their positions from the one after the padding token's id.
_POSITIONS_AFTER_PADDING = ("roberta", "xlm-roberta", "mpnet")


@with_config(ConfigDict(extra="allow"))
class _Labelled(TypedDict, total=False):
    """What is read of ``config.json`` before transformers reads it."""

    id2label: dict[int, Any] | None


_LABELLED = TypeAdapter(_Labelled)


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A pretrained model in a local folder."""

    folder: Path
    digest: str
    """sha256 over its config, its tokenizer and its weights."""
    reference: str = ""
    """What finds it again: a hub id, a package reference or an absolute path."""

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
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"):
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
            f"{reference} does not exist (looked in {Path.cwd()}). By its name it is what "
            f"adapter-distill run CONFIG --until {stage} leaves: run that first, or correct the "
            "name."
        )
    return found or _fetch(reference, _WANTED_OF_ADAPTERS)


def load_model(
    checkpoint: Checkpoint, objective: Objective, *, labels: tuple[str, ...], seed: int = 0
) -> PreTrainedModel:
    """Return a task's model in eval mode; the seed draws what its checkpoint does not hold.

    Raises:
        InputError: when the model cannot be read, or was trained with these labels in another
            order.
    """
    _check_label_order(checkpoint.folder, labels)
    set_seed(seed)
    with refusing(
        f"Cannot read the model in {checkpoint.folder}",
        "Give a model saved with save_pretrained whose architecture this transformers version "
        "knows.",
    ):
        model, loaded = objective.model_class.from_pretrained(
            checkpoint.folder,
            **objective.head_settings(labels),
            use_safetensors=True,
            local_files_only=True,
            ignore_mismatched_sizes=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    _check_weights(checkpoint.folder, model, loaded)
    model.config.use_cache = False  # no model here continues a text
    if model.config.pad_token_id is None:
        model.config.pad_token_id = _tokenizer(checkpoint).pad_token_id
    return cast(PreTrainedModel, model.eval())


def holds_head(checkpoint: Checkpoint, model: PreTrainedModel, head: Head) -> bool:
    """Tell whether a checkpoint holds a model's head: else `load_model` has drawn a new one."""
    name = f"{head.last}.weight"
    for path in checkpoint.folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as tensors:
            if name in tensors.keys():  # noqa: SIM118  (the file is no mapping)
                found: list[int] = tensors.get_slice(name).get_shape()
                return found == list(model.get_parameter(name).shape)
    return False


def load_tokenizer(checkpoint: Checkpoint, *, max_length: int) -> PreTrainedTokenizerBase:
    """Return the fast tokenizer of a checkpoint, whose own limit is set to ``max_length``.

    Raises:
        InputError: when there is none, or the model takes fewer than ``max_length`` tokens.
    """
    tokenizer = _tokenizer(checkpoint)
    longest = min(tokenizer.model_max_length, _positions(checkpoint))
    if max_length > longest:
        raise InputError(
            f"data.max_length = {max_length}, but the model in {checkpoint.folder} takes at most "
            f"{longest} tokens. Lower data.max_length."
        )
    tokenizer.model_max_length = max_length  # saved with it: who loads it truncates alike
    return tokenizer


def longest_input(checkpoint: Checkpoint) -> int:
    """Return how many tokens a checkpoint's model and its tokenizer take.

    Raises:
        InputError: when there is no tokenizer.
    """
    return int(min(_tokenizer(checkpoint).model_max_length, _positions(checkpoint)))


def count_layers(checkpoint: Checkpoint) -> int:
    """Return how many layers a checkpoint's model has."""
    with _reading_config(checkpoint):
        return int(AutoConfig.from_pretrained(checkpoint.folder).num_hidden_layers)


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


def _tokenizer(checkpoint: Checkpoint) -> PreTrainedTokenizerBase:
    with refusing(
        f"Cannot read the tokenizer in {checkpoint.folder}",
        "Give a model that was saved with its tokenizer.",
    ):
        tokenizer = AutoTokenizer.from_pretrained(
            checkpoint.folder, local_files_only=True, trust_remote_code=False
        )
    if not isinstance(tokenizer.model_max_length, int | float):
        raise InputError(
            f"{checkpoint.folder / 'tokenizer_config.json'}: expected model_max_length as a "
            f"number, found {tokenizer.model_max_length!r}. Correct it."
        )
    if tokenizer.pad_token is None:  # decoders have none: what ends a text pads it, by custom
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token is None:
        raise InputError(
            f"The tokenizer in {checkpoint.folder} has no padding token. Set its pad_token."
        )
    return cast(PreTrainedTokenizerBase, tokenizer)


def _positions(checkpoint: Checkpoint) -> int:
    """Return how many tokens a model has positions for."""
    with _reading_config(checkpoint):
        config = AutoConfig.from_pretrained(checkpoint.folder)
        reserved = config.pad_token_id + 1 if config.model_type in _POSITIONS_AFTER_PADDING else 0
        return int(config.max_position_embeddings) - reserved


def _reading_config(checkpoint: Checkpoint) -> AbstractContextManager[None]:
    """Return what refuses a config that cannot be read, or lacks what every model has."""
    return refusing(
        f"Cannot read {checkpoint.folder / 'config.json'}",
        "Give a model saved with save_pretrained whose architecture this transformers version "
        "knows.",
    )


def _check_weights(folder: Path, model: PreTrainedModel, loaded: dict[str, Any]) -> None:
    """Refuse a backbone that the checkpoint does not hold whole: the rest would be random.

    Args:
        folder: The checkpoint's.
        model: The model as it was loaded; its head may be new.
        loaded: What transformers tells of the loading.
    """
    problems = {name: f"missing {name}" for name in sorted(loaded["missing_keys"])}
    for name, found, expected in sorted(loaded["mismatched_keys"]):
        problems[name] = f"{name} is {tuple(found)}, expected {tuple(expected)}"
    lost = [problem for name, problem in problems.items() if not is_head_parameter(model, name)]
    lost += [
        f"{name} has values that are not finite"
        for name, parameter in model.named_parameters()
        if not parameter.isfinite().all()
    ]
    if lost:
        raise InputError(
            f"The weights in {folder} are not those of the model in its config.json: "
            f"{first_of(lost)}. Copy the model again, or give another."
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


def _check_label_order(folder: Path, labels: tuple[str, ...]) -> None:
    path = folder / "config.json"
    advice = "Give a model saved with save_pretrained."
    config = read_json(path, _LABELLED, expected="the config of a model", advice=advice)
    own = config.get("id2label") or {}
    own_labels = [str(own[number]) for number in sorted(own)]
    if own_labels != list(labels) and sorted(own_labels) == sorted(labels):
        raise InputError(
            f"The model in {folder} was trained with the labels in the order {own_labels}, but "
            f"data.labels is {list(labels)}. Put data.labels in the model's order."
        )
