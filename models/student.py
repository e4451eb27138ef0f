"""The student: a stock transformers model without a trace of an adapter."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from models.adapters.parameter_names import is_adapter_parameter
from models.architectures.architecture import Architecture
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
    if architecture.shared_layers:
        raise ValueError(
            f"student.layers: a {model.config.model_type} model runs one layer several times, so "
            "none can be left out. Keep all."
        )
    if architecture.first_layer_differs and 0 not in layers:
        raise ValueError(
            f"student.layers: the first layer of a {model.config.model_type} model is of its own "
            f"kind, so it must be kept, found {list(layers)}. Begin with 0."
        )
    if list(layers) != sorted(set(layers)):
        raise ValueError(f"student.layers: expected increasing numbers, found {list(layers)}.")
    parent, _, name = architecture.layer_list.rpartition(".")
    kept = nn.ModuleList([everything[index] for index in layers])
    setattr(model.base_model.get_submodule(parent), name, kept)
    model.config.num_hidden_layers = len(layers)
    if getattr(model.config, "layer_types", None) is not None:
        model.config.layer_types = [model.config.layer_types[index] for index in layers]
    for number, layer in enumerate(kept):
        modules: list[Any] = list(layer.modules())
        for module in modules:
            if hasattr(module, "layer_idx"):  # where the layer is, for a decoder's cache
                module.layer_idx = number


@torch.no_grad()
def add_biases(model: PreTrainedModel, architecture: Architecture) -> None:
    """Give dense layers the biases that the architecture can have, in place: zeros at first.

    The config says so: what is saved is still a stock transformers model.
    """
    for setting, path in architecture.bias_settings.items():
        setattr(model.config, setting, True)
        for layer in architecture.layers(model.base_model):
            for module in layer.get_submodule(path).modules():
                if isinstance(module, nn.Linear) and module.bias is None:
                    module.bias = nn.Parameter(module.weight.new_zeros(module.out_features))


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
    modules: list[Any] = list(model.modules())
    for module in modules:
        if isinstance(module, nn.Dropout):
            module.p = probability
        elif isinstance(getattr(module, "attention_dropout", None), float):  # decoders
            module.attention_dropout = probability
