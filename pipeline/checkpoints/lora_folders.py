"""An absorbed student as LoRA for its backbone, in the folder that PEFT reads.

Many teachers over one backbone are then served as one backbone and a small file each.
"""

import warnings
from pathlib import Path
from typing import Any, cast

import peft
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from models.architectures.architecture import Position
from models.architectures.dense import Dense, bias_of
from models.teacher import is_head_parameter
from pipeline.checkpoints.context import ModelContext
from pipeline.checkpoints.pretrained import Checkpoint, find_architecture
from pipeline.checkpoints.tokenizers import load_tokenizer, save_tokenizer
from pipeline.checkpoints.weights import load_model

_POSITIONS: tuple[Position, Position] = ("attention", "ffn")
_NAME = "default"
"""PEFT's name of the only adapter."""


@torch.no_grad()
def save_as_lora(
    student: Path, context: ModelContext, labels: tuple[str, ...], out: Path, *, rank: int
) -> None:
    """Write what an absorbed student adds to its backbone as LoRA, head and tokenizer included.

    Args:
        student: Folder of one whose weights differ from the backbone's by this rank, at most.
        context: Its backbone is the student's own.
        labels: Of the head.
        out: Existing folder.
        rank: Of the LoRA.
    """
    objective = context.task.objective()
    checkpoints = (context.backbone, Checkpoint(folder=student, digest=""))
    backbone, absorbed = (
        load_model(each, objective, labels=labels, seed=context.seed) for each in checkpoints
    )
    sites = _sites(absorbed)
    settings = peft.LoraConfig(
        r=rank,
        lora_alpha=rank,  # a scale of one
        lora_bias=all(bias_of(dense) is not None for dense in sites.values()),
        target_modules=list(sites),
        modules_to_save=_head_modules(absorbed),
    )
    settings.base_model_name_or_path = context.backbone.reference
    model = peft.get_peft_model(backbone, settings)
    wrapped: dict[str, Any] = dict(model.get_base_model().named_modules())
    for name, dense in sites.items():
        _set_lora(wrapped[name], Dense.of(dense))
    for name in settings.modules_to_save or ():
        path = next(path for path in wrapped if path.split(".")[-1] == name)
        saved = wrapped[path].modules_to_save[_NAME]
        saved.load_state_dict(absorbed.get_submodule(path).state_dict())
    with warnings.catch_warnings():
        # PEFT takes a bias, which has one dimension, for a matrix that is not whole.
        warnings.simplefilter("ignore", peft.utils.warning.PeftWarning)
        model.save_pretrained(str(out))
    save_tokenizer(load_tokenizer(context.backbone, max_length=context.max_length), out)


def _sites(model: PreTrainedModel) -> dict[str, nn.Module]:
    """Return the dense modules that absorption changes, by their names in the model."""
    architecture = find_architecture(model)
    names = {module: name for name, module in cast(nn.Module, model).named_modules()}
    layers = architecture.layers(model.base_model)
    denses = [architecture.dense(layer, position) for layer in layers for position in _POSITIONS]
    return {names[dense]: dense for dense in denses}


def _head_modules(model: PreTrainedModel) -> list[str]:
    """Return the names of the modules that make up the head, without their parents'."""
    prefix = f"{model.base_model_prefix}."
    names = [name for name, _ in model.named_parameters() if is_head_parameter(model, name)]
    return list(dict.fromkeys(name.removeprefix(prefix).split(".")[0] for name in names))


# Any: PEFT's layers type every submodule as a tensor or a module.
def _set_lora(layer: Any, absorbed: Dense) -> None:
    """Let one of PEFT's layers give what the absorbed dense layer gives."""
    own = Dense.of(layer.get_base_layer())
    change: Tensor = absorbed.weight.double() - own.weight.double()  # (D, K)
    left, strength, right = torch.linalg.svd(change, full_matrices=False)
    first, second = layer.lora_A[_NAME].weight, layer.lora_B[_NAME].weight  # (r, K), (D, r)
    rank = len(first)
    roots = strength[:rank].sqrt()
    first.copy_(roots[:, None] * right[:rank])
    second.copy_(left[:, :rank] * roots)
    bias = layer.lora_B[_NAME].bias
    if bias is not None:
        bias.copy_(absorbed.bias - own.bias)
