"""Models on disk: backbones found by reference, teachers as what they add to a backbone.

Weights are safetensors, and ``trust_remote_code`` is never given: nothing that is loaded runs.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from huggingface_hub import snapshot_download
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)

from models.adapters import (
    add_adapter,
    add_fusion,
    insert_adapters,
    set_active,
    settings_of,
)
from models.architectures import Architecture, UnknownArchitectureError, architecture_of
from models.composition import Composition, FusionSettings
from models.objective import Objective
from models.site import AdapterSettings
from models.teacher import count_parameters, load_trained_tensors, trained_tensors
from pipeline.artifacts import sha256_file, sha256_json
from pipeline.config import AdapterConfig, AdapterSource, ModelConfig
from pipeline.errors import InputError, UnreachableError
from pipeline.records import TeacherFacts, TrainingOutcome
from pipeline.sources import locate

_WANTED = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model"]
# Many have no safetensors; a .bin is read as weights only.
_WANTED_OF_ADAPTERS = ["*.safetensors", "*.bin", "*.json"]
# These number their positions from the one after the padding token's id.
_POSITIONS_AFTER_PADDING = ("roberta", "xlm-roberta", "mpnet")
TEACHER_TENSORS = "teacher.safetensors"
TEACHER_FACTS = "teacher.json"
TRAINED = "task"
"""Name of the adapter that the chain trains."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A pretrained model in a local folder."""

    folder: Path
    digest: str
    """sha256 over its config, its tokenizer and its weights."""
    reference: str = ""
    """What finds it again: a hub id, a package reference or an absolute path."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportedAdapters:
    """Adapters that were trained elsewhere, and how they work together."""

    adapters: dict[str, AdapterSettings]
    """By name."""
    active: Composition
    fusion: FusionSettings | None = None
    """Of the AdapterFusion in it, where there is one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherDescription:
    """What a teacher's folder says of it, beside its tensors."""

    labels: tuple[str, ...]
    adapter: AdapterConfig | ImportedAdapters | None
    backbone: str
    """Reference of its backbone."""
    backbone_digest: str
    max_length: int
    """Longest input, in tokens."""


_DESCRIPTION = TypeAdapter(TeacherDescription)


def find_checkpoint(config: ModelConfig) -> Checkpoint:
    """Return the local folder of a model, fetched from the hub where it is an id.

    Raises:
        InputError: when it cannot be found, has no safetensors weights, or has other weights
            than the config's sha256 says.
    """
    folder = locate(config.model) or _fetch(config.model, _WANTED)
    weights = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
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
    """Return the local folder of an AdapterHub checkpoint, fetched from the hub if it is an id.

    Raises:
        InputError: when it cannot be found.
    """
    return locate(reference) or _fetch(reference, _WANTED_OF_ADAPTERS)


def load_classifier(
    checkpoint: Checkpoint, objective: Objective, *, labels: tuple[str, ...], seed: int
) -> PreTrainedModel:
    """Return a classifier in eval mode; the seed draws what its checkpoint does not hold.

    Raises:
        InputError: when the model cannot be read, or was trained with these labels in another
            order.
    """
    _check_label_order(checkpoint.folder, labels)
    set_seed(seed)
    try:
        model = objective.model_class.from_pretrained(
            checkpoint.folder,
            id2label=dict(enumerate(labels)),
            label2id={name: index for index, name in enumerate(labels)},
            use_safetensors=True,
            local_files_only=True,
            ignore_mismatched_sizes=True,
            trust_remote_code=False,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise InputError(
            f"Cannot read the model in {checkpoint.folder}: {error} Give a model saved with "
            "save_pretrained whose architecture this transformers version knows."
        ) from error
    model.config.use_cache = False  # a classifier never goes on with a text
    if model.config.pad_token_id is None:
        model.config.pad_token_id = _tokenizer(checkpoint).pad_token_id
    return cast(PreTrainedModel, model.eval())


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


def add_adapters(model: PreTrainedModel, adapter: AdapterConfig | ImportedAdapters) -> None:
    """Hang new adapters on a classifier's backbone, in place, and activate them.

    Raises:
        InputError: when no adapter sites are known for the architecture.
    """
    architecture = find_architecture(model)
    if isinstance(adapter, AdapterConfig):
        insert_adapters(model.base_model, architecture, **adapter.model_dump(), name=TRAINED)
        return
    for name, settings in adapter.adapters.items():
        add_adapter(model.base_model, architecture, name, settings)
    add_fusion(model.base_model, adapter.active, adapter.fusion)
    set_active(model.base_model, adapter.active)


def adapters_of(adapter: AdapterConfig | ImportedAdapters) -> ImportedAdapters:
    """Return a teacher's adapters by name, and how they work together: one trained, or imported."""
    if isinstance(adapter, ImportedAdapters):
        return adapter
    form = adapter.model_dump(exclude={"initialisation"})
    return ImportedAdapters(adapters={TRAINED: settings_of(**form)}, active=TRAINED)


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


def save_teacher(
    model: PreTrainedModel,
    out: Path,
    *,
    checkpoint: Checkpoint,
    labels: tuple[str, ...],
    adapter: AdapterConfig | ImportedAdapters | None,
    max_length: int,
) -> None:
    """Write what the teacher adds to its backbone, and how to build it."""
    save_file(trained_tensors(model), out / TEACHER_TENSORS)
    description = TeacherDescription(
        labels=labels,
        adapter=adapter,
        backbone=checkpoint.reference,
        backbone_digest=checkpoint.digest,
        max_length=max_length,
    )
    plain = _DESCRIPTION.dump_python(description, mode="json")
    (out / TEACHER_FACTS).write_text(json.dumps(plain, indent=2))


def read_teacher(folder: Path) -> TeacherDescription:
    """Return what `save_teacher` wrote of a teacher.

    Raises:
        InputError: when the folder does not hold one.
    """
    missing = [name for name in (TEACHER_FACTS, TEACHER_TENSORS) if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f"{folder} is not a teacher: it has no {' and no '.join(missing)}. Give the folder of "
            "a finetune stage, such as runs/latest/finetune, or of import-adapter."
        )
    try:
        return _DESCRIPTION.validate_json((folder / TEACHER_FACTS).read_bytes())
    except ValidationError as error:
        raise InputError(
            f"{folder / TEACHER_FACTS} is not a teacher's description: {error} Fine-tune it again."
        ) from error


def load_teacher(checkpoint: Checkpoint, folder: Path, objective: Objective) -> PreTrainedModel:
    """Return the teacher that `save_teacher` wrote, in eval mode, on its backbone."""
    description = read_teacher(folder)
    model = load_classifier(checkpoint, objective, labels=description.labels, seed=0)
    if description.adapter is not None:
        add_adapters(model, description.adapter)
    load_trained_tensors(model, load_file(folder / TEACHER_TENSORS))
    model.eval()
    return model


def load_backed_teacher(
    folder: Path, objective: Objective, *, backbone: str | None = None
) -> tuple[TeacherDescription, Checkpoint, PreTrainedModel]:
    """Return a teacher with what its folder says of it, on the backbone that it was trained on.

    Args:
        backbone: Where that is; None takes the one that the teacher names.

    Raises:
        InputError: when the folder holds no teacher, or the backbone is another one.
    """
    description = read_teacher(folder)
    checkpoint = find_checkpoint(ModelConfig(model=backbone or description.backbone))
    check_backbone_of(folder, description, checkpoint)
    return description, checkpoint, load_teacher(checkpoint, folder, objective)


def check_backbone_of(
    folder: Path, description: TeacherDescription, checkpoint: Checkpoint
) -> None:
    """Refuse a backbone that a teacher was not trained on."""
    if checkpoint.digest != description.backbone_digest:
        raise InputError(
            f"The teacher in {folder} was trained on another backbone than "
            f"{checkpoint.reference}: expected the digest {description.backbone_digest[:12]}, "
            f"found {checkpoint.digest[:12]}. Give its own with --backbone."
        )


def describe_teacher(
    model: PreTrainedModel,
    *,
    adapter: AdapterConfig | AdapterSource | None,
    digest: str,
    warnings: tuple[str, ...],
    outcome: TrainingOutcome,
) -> TeacherFacts:
    """Return the record of a trained teacher: what trained, how many parameters, how it went."""
    count = count_parameters(model)
    return TeacherFacts(
        adapter=adapter,
        total_parameters=count.total,
        trainable_parameters=count.trainable,
        adapter_parameters=count.adapter,
        head_parameters=count.head,
        trainable_percent=round(count.trainable_percent, 3),
        trainable_names=count.trainable_names,
        backbone_sha256=digest,
        warnings=warnings,
        outcome=outcome,
    )


def _tokenizer(checkpoint: Checkpoint) -> PreTrainedTokenizerBase:
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            checkpoint.folder, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"Cannot read the tokenizer in {checkpoint.folder}: {error}") from error
    if tokenizer.pad_token is None:  # decoders have none: what ends a text pads it, by custom
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token is None:
        raise InputError(
            f"The tokenizer in {checkpoint.folder} has no padding token. Set its pad_token."
        )
    return cast(PreTrainedTokenizerBase, tokenizer)


def _positions(checkpoint: Checkpoint) -> int:
    """Return how many tokens a model has positions for."""
    config = AutoConfig.from_pretrained(checkpoint.folder)
    reserved = config.pad_token_id + 1 if config.model_type in _POSITIONS_AFTER_PADDING else 0
    return int(config.max_position_embeddings) - reserved


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
    own = json.loads((folder / "config.json").read_text()).get("id2label") or {}
    own_labels = [own[key] for key in sorted(own, key=int)]
    if own_labels != list(labels) and sorted(own_labels) == sorted(labels):
        raise InputError(
            f"The model in {folder} was trained with the labels in the order {own_labels}, but "
            f"data.labels is {list(labels)}. Put data.labels in the model's order."
        )
