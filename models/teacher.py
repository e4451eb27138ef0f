"""The teacher: a classifier whose frozen backbone carries adapters.

Only the adapters and the head are trained. The head is every parameter outside the backbone, and
the backbone's pooler. Checkpoints of language models ship without a trained pooler, and it feeds
nothing but the head.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from models.adapters.parameter_names import is_adapter_parameter, is_composition_parameter

POOLER = "pooler"


@dataclass(frozen=True, kw_only=True, slots=True)
class ParameterCount:
    """How many parameters a model has, and which of them train."""

    total: int
    trainable: int
    adapter: int
    head: int
    trainable_names: tuple[str, ...]

    @property
    def trainable_percent(self) -> float:
        """Trainable part of all parameters, in per cent."""
        return 100 * self.trainable / self.total


def freeze_backbone(model: PreTrainedModel) -> None:
    """Leave gradients on exactly the adapters and the head."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(is_adapter_parameter(name) or is_head_parameter(model, name))


def freeze_adapters(model: PreTrainedModel) -> None:
    """Leave gradients on exactly what composes the adapters, and the head: a second stage.

    Pfeiffer et al., 2021, https://arxiv.org/abs/2005.00247, section 3.2.
    """
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(is_composition_parameter(name) or is_head_parameter(model, name))


def is_head_parameter(model: PreTrainedModel, name: str) -> bool:
    """Tell from its name whether a parameter belongs to the head (the pooler counts).

    A language model's head belongs to the backbone: its checkpoint holds it, tied or not.
    """
    prefix = f"{model.base_model_prefix}."
    if _is_vocabulary(model, name):
        return False
    return not name.startswith(prefix) or name.removeprefix(prefix).split(".")[0] == POOLER


def _is_vocabulary(model: PreTrainedModel, name: str) -> bool:
    return name.startswith("lm_head.") and model.get_output_embeddings() is not None


def count_parameters(model: PreTrainedModel) -> ParameterCount:
    """Return the counts, by name of the trainable ones."""
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    trains = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    return ParameterCount(
        total=sum(sizes.values()),
        trainable=sum(sizes[name] for name in trains),
        adapter=sum(size for name, size in sizes.items() if is_adapter_parameter(name)),
        head=sum(size for name, size in sizes.items() if is_head_parameter(model, name)),
        trainable_names=tuple(name for name in sizes if name in trains),
    )


def trained_tensors(model: PreTrainedModel) -> dict[str, Tensor]:
    """Return what the teacher adds to its backbone: the tensors of adapters and head."""
    return {
        name: parameter.detach().cpu().contiguous()
        for name, parameter in model.named_parameters()
        if is_adapter_parameter(name) or is_head_parameter(model, name)
    }


def load_trained_tensors(model: PreTrainedModel, tensors: Mapping[str, Tensor]) -> None:
    """Set adapters and head, in place.

    Raises:
        ValueError: when a tensor is missing, unknown or of another shape; nothing is set then.
    """
    expected = trained_tensors(model)
    problems = [f"missing {name}" for name in sorted(expected.keys() - tensors.keys())]
    problems += [f"unknown {name}" for name in sorted(tensors.keys() - expected.keys())]
    problems += [
        f"{name} is {tuple(tensors[name].shape)}, expected {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    if problems:
        raise ValueError(f"These are not the tensors of this teacher: {'; '.join(problems)}")
    with torch.no_grad():
        for name, tensor in tensors.items():
            model.get_parameter(name).copy_(tensor)


def backbone_digest(model: PreTrainedModel) -> str:
    """Return the sha256 of the parameters outside of adapters and head, with names and shapes."""
    return _digest(
        (name, parameter)
        for name, parameter in model.named_parameters()
        if not is_adapter_parameter(name) and not is_head_parameter(model, name)
    )


def frozen_digest(model: PreTrainedModel) -> str:
    """Return the sha256 of the parameters without gradients, with names and shapes."""
    return _digest((name, p) for name, p in model.named_parameters() if not p.requires_grad)


def _digest(parameters: Iterable[tuple[str, Tensor]]) -> str:
    digest = hashlib.sha256()
    for name, parameter in sorted(parameters):
        digest.update(f"{name}{tuple(parameter.shape)}{parameter.dtype}".encode())
        digest.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
