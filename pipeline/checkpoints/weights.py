"""Models with the weights of a checkpoint: every tensor of the backbone comes from its files.

transformers draws missing tensors at random and ignores surplus ones, without an error. Here only
the head may be new. Heads of other tasks and computed buffers may be left out. A pooler that the
head does not read may be left out too. Everything else is refused.

Weights of any floating point type are read as float32, in which adapters and head train.
"""

import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from pydantic import ConfigDict, TypeAdapter, with_config
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel, set_seed
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from models.architectures.heads import Head
from models.architectures.table import ARCHITECTURES
from models.losses import Objective
from models.teacher import POOLER, is_head_parameter
from pipeline.checkpoints.pretrained import Checkpoint
from pipeline.checkpoints.tensors import first_of
from pipeline.checkpoints.tokenizers import padding_id
from pipeline.checkpoints.weight_files import BUFFERS, read_shapes, weight_paths
from pipeline.errors import InputError, refusing
from pipeline.store.json_files import read_json

logger = logging.getLogger(__name__)

HEADS = frozenset(
    {
        *("classifier", "pre_classifier", "score", "head", "pooler", "qa_outputs", "logits_proj"),
        *("cls", "lm_head", "predictions", "sop_classifier", "decoder", "generator_lm_head"),
        *("vocab_transform", "vocab_layer_norm", "vocab_projector", "generator_predictions"),
        *("discriminator_predictions", "lm_predictions", "mask_predictions"),
        *("sequence_summary", "multiple_choice_head"),
    }
)
"""Names of the modules that transformers puts on the known backbones, for any task."""
_WRAPPERS = re.compile(r"(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""Names that torch.compile, FSDP and activation checkpointing put into those of tensors."""
_ADVICE = "Copy the model again, or give another."

# Any: what transformers tells of a loading.
_Loaded = Mapping[str, Any]


@with_config(ConfigDict(extra="allow"))
class _Config(TypedDict, total=False):
    """Part of ``config.json`` that is read before transformers reads it."""

    id2label: dict[int, Any] | None
    architectures: list[str] | None
    model_type: str
    quantization_config: Any


_CONFIG = TypeAdapter(_Config)


def load_model(
    checkpoint: Checkpoint, objective: Objective, *, labels: tuple[str, ...], seed: int = 0
) -> PreTrainedModel:
    """Return a task's model in eval mode, in float32; the seed draws a head that is new.

    Raises:
        InputError: when the model cannot be read, its files do not hold its whole backbone or hold
            another one, or it was trained with these labels in another order.
    """
    folder = checkpoint.folder
    _check_config(folder, labels)
    check_kind(folder, objective)
    names = read_shapes(folder)
    set_seed(seed)
    with refusing(
        f"Cannot read the model in {folder}",
        "Give a model saved with save_pretrained whose architecture this transformers version "
        "knows.",
    ):
        model, loaded = objective.model_class.from_pretrained(
            folder,
            **objective.head_settings(labels),
            use_safetensors=True,
            local_files_only=True,
            ignore_mismatched_sizes=True,
            trust_remote_code=False,
            output_loading_info=True,
            dtype=torch.float32,
        )
        if renamed := _without_wrappers(model, loaded, names):
            set_seed(seed)
            model, loaded = _load_renamed(folder, model, renamed)
    _check_weights(folder, model, loaded)
    model.config.use_cache = False  # no model here continues a text
    pad = model.config.pad_token_id
    if not isinstance(pad, int) or not 0 <= pad < model.config.vocab_size:
        model.config.pad_token_id = padding_id(checkpoint)
    return cast(PreTrainedModel, model.eval())


def drawn_parameters(checkpoint: Checkpoint, model: PreTrainedModel) -> tuple[str, ...]:
    """Return the names of the head's parameters that `load_model` drew at random."""
    held = read_shapes(checkpoint.folder)
    bare = f"{model.base_model_prefix}."

    def is_held(name: str, shape: tuple[int, ...]) -> bool:
        endings = (f".{name}", f".{name.removeprefix(bare)}")
        return any(
            found == shape and f".{_WRAPPERS.sub('', key)}".endswith(endings)
            for key, found in held.items()
        )

    return tuple(
        name
        for name, parameter in model.named_parameters()
        if is_head_parameter(model, name) and not is_held(name, tuple(parameter.shape))
    )


def holds_head(checkpoint: Checkpoint, model: PreTrainedModel, head: Head) -> bool:
    """Return whether a checkpoint holds a model's head: else `load_model` has drawn a new one."""
    return f"{head.last}.weight" not in drawn_parameters(checkpoint, model)


def _without_wrappers(
    model: PreTrainedModel, loaded: _Loaded, names: Iterable[str]
) -> dict[str, str]:
    """Return new names for a file's tensors, by the old ones; empty where none are certain.

    Certain is the one prefix without which the tensors have all the names that the backbone lacks.
    """
    backbone = [n for n, _ in model.named_parameters() if not is_head_parameter(model, n)]
    lost = sorted(set(backbone) & set(loaded["missing_keys"]))
    plain = {name: _WRAPPERS.sub("", name) for name in names}
    if not lost:
        return {}
    base = f"{model.base_model_prefix}."
    renamings = []
    for wanted in (lost, [name.removeprefix(base) for name in lost]):
        ends = [name for name in plain.values() if f".{name}".endswith(f".{wanted[0]}")]
        for prefix in sorted({name[: -len(wanted[0])] for name in ends}):
            renamed = {old: name.removeprefix(prefix) for old, name in plain.items()}
            is_whole = not prefix or len(lost) == len(backbone)
            is_clear = len(set(renamed.values())) == len(renamed)
            if is_whole and is_clear and set(wanted) <= set(renamed.values()):
                renamings.append(renamed)
        if renamings:
            break
    return renamings[0] if len(renamings) == 1 else {}


def _load_renamed(
    folder: Path, model: PreTrainedModel, names: Mapping[str, str]
) -> tuple[PreTrainedModel, _Loaded]:
    """Return a model of the same kind with tensors under new names, and how its loading went."""
    old, new = next((old, new) for old, new in names.items() if old != new)
    logger.info("the weights are those of a wrapped model: %s is read as %s", old, new)
    tensors = {
        names[name]: tensor
        for path in weight_paths(folder)
        for name, tensor in load_file(path).items()
    }
    # The stubs do not know what `output_loading_info` returns.
    found: Any = type(model).from_pretrained(
        None,
        config=model.config,
        state_dict=tensors,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        dtype=torch.float32,
    )
    renamed, loaded = found
    return renamed, loaded


def _check_weights(folder: Path, model: PreTrainedModel, loaded: _Loaded) -> None:
    """Refuse a backbone that the checkpoint does not hold whole, or that it holds more of.

    Args:
        folder: The checkpoint's.
        model: The model as it was loaded; its head may be new.
        loaded: What transformers tells of the loading.
    """
    new = {name: f"missing {name}" for name in sorted(loaded["missing_keys"])}
    for name, found, expected in sorted(loaded["mismatched_keys"]):
        new[name] = f"{name} is {tuple(found)}, expected {tuple(expected)}"
    problems = [problem for name, problem in new.items() if not is_head_parameter(model, name)]
    problems += _halves(model, new)
    problems += _strangers(model, sorted(loaded["unexpected_keys"]))
    problems += [
        f"{name} has values that are not finite"
        for name, parameter in model.named_parameters()
        if not _is_finite(parameter)
    ]
    if problems:
        raise InputError(
            f"The weights in {folder} are not those of the model in its config.json: "
            f"{first_of(problems)}. {_ADVICE}"
        )


def _is_finite(values: Tensor) -> bool:
    """Return whether all values are finite; a finite sum, which costs a tenth, says so too."""
    return bool(values.sum().isfinite() or values.isfinite().all())


def _halves(model: PreTrainedModel, new: Mapping[str, str]) -> list[str]:
    """Return the problems of head modules that are in the files in part: weights without bias."""
    head = [name for name, _ in model.named_parameters() if is_head_parameter(model, name)]
    modules = {name.rpartition(".")[0] for name in head if name not in new}
    return [new[name] for name in head if name in new and name.rpartition(".")[0] in modules]


def _strangers(model: PreTrainedModel, names: list[str]) -> list[str]:
    """Return the problems of tensors that belong in the backbone, which has no place for them."""
    base = f"{model.base_model_prefix}."
    inside = {name for name, _ in model.base_model.named_children()}
    problems, aside = [], []
    for name in names:
        if BUFFERS.search(name):
            continue
        first = name.removeprefix(base).split(".")[0]
        if first in HEADS and (first == POOLER or not name.startswith(base)):
            continue
        if name.startswith(base) or first in inside:
            problems.append(f"the model has no place for {name}")
        else:
            aside.append(name)
    if aside:
        logger.warning("ignored, because they are no part of the backbone: %s", first_of(aside))
    return problems


def check_kind(folder: Path, objective: Objective) -> None:
    """Refuse an encoder where texts are to be continued.

    Raises:
        InputError: saying what the task needs.
    """
    path, advice = folder / "config.json", "Give a model saved with save_pretrained."
    config = read_json(path, _CONFIG, expected="the config of a model", advice=advice)
    kind = config.get("model_type", "")
    architecture = ARCHITECTURES.get(kind)
    if objective.is_read and architecture is not None and architecture.language_head is None:
        decoders = [name for name, each in ARCHITECTURES.items() if each.language_head is not None]
        raise InputError(
            f"The model in {folder} is of the type {kind}, which reads texts and cannot continue "
            f"them. A causal-lm needs one of {', '.join(decoders)}: give such a model, or set task "
            "to what this one is for."
        )


def _check_config(folder: Path, labels: tuple[str, ...]) -> None:
    """Refuse a quantised model, one of another kind than its weights, and labels in other order."""
    path = folder / "config.json"
    advice = "Give a model saved with save_pretrained."
    config = read_json(path, _CONFIG, expected="the config of a model", advice=advice)
    if config.get("quantization_config"):
        raise InputError(
            f"The model in {folder} is quantised (quantization_config in its config.json): its "
            "weights cannot train, be absorbed or exported. Give the model in float32, bfloat16 or "
            "float16."
        )
    kind = config.get("model_type", "")
    for name in config.get("architectures") or ():
        of_class = getattr(getattr(transformers, name, None), "config_class", None)
        saved_as = getattr(of_class, "model_type", kind)
        # These two are one architecture.
        if saved_as != kind and {saved_as, kind} != {"roberta", "xlm-roberta"}:
            raise InputError(
                f"{path} says two things: its model_type is {kind!r}, and its architectures name "
                f"{name}, which is of the type {saved_as!r}. Correct the one that is wrong."
            )
    own = config.get("id2label") or {}
    own_labels = [str(own[number]) for number in sorted(own)]
    if own_labels != list(labels) and sorted(own_labels) == sorted(labels):
        raise InputError(
            f"The model in {folder} was trained with the labels in the order {own_labels}, but "
            f"data.labels is {list(labels)}. Put data.labels in the model's order."
        )
