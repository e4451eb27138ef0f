"""The student: a stock transformers model without a trace of an adapter."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from models.adapters import is_adapter_parameter
from models.architectures import Architecture
from models.teacher import is_head_parameter


def keep_layers(model: PreTrainedModel, architecture: Architecture, layers: Sequence[int]) -> None:
    """Reduce a backbone to some of its layers, in place; its config says the new number.

    Raises:
        ValueError: for a layer that the backbone does not have, or numbers that do not increase.
    """
    everything = architecture.layers(model.base_model)
    unknown = [index for index in layers if not 0 <= index < len(everything)]
    if unknown:
        raise ValueError(
            f"student.layers: the backbone has the layers 0 to {len(everything) - 1}, "
            f"found {unknown}. Give some of those."
        )
    if list(layers) != sorted(set(layers)):
        raise ValueError(f"student.layers: expected increasing numbers, found {list(layers)}.")
    parent, _, name = architecture.layer_list.rpartition(".")
    kept = nn.ModuleList([everything[index] for index in layers])
    setattr(model.base_model.get_submodule(parent), name, kept)
    model.config.num_hidden_layers = len(layers)


def take_head(student: PreTrainedModel, teacher_tensors: Mapping[str, Tensor]) -> bool:
    """Give the student the teacher's head; return whether it fits and was taken."""
    head = {name: t for name, t in teacher_tensors.items() if not is_adapter_parameter(name)}
    own = {n: p for n, p in student.named_parameters() if is_head_parameter(student, n)}
    if {n: t.shape for n, t in head.items()} != {n: p.shape for n, p in own.items()}:
        return False
    with torch.no_grad():
        for name, tensor in head.items():
            own[name].copy_(tensor)
    return True


def adapter_traces(model: nn.Module) -> list[str]:
    """Return the names of adapter tensors and the modules with hooks: empty for a student."""
    tensors = [name for name in model.state_dict() if is_adapter_parameter(name)]
    hooked = [
        name
        for name, module in model.named_modules()
        if module._forward_hooks or module._forward_pre_hooks
    ]
    return tensors + hooked


def set_dropout(model: nn.Module, probability: float) -> None:
    """Set the probability of every dropout of a model, in place."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = probability
