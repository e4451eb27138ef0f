"""Exact folds: a teacher's adapters become weights of a stock model, without data.

models/absorption/exact_algebra.py says which adapters fold, and how. Linear sequential adapters
are free; parallel ones cost FFN units at inference. A transformers config has one FFN size, so
layers that need fewer units are padded with zeros. Dropout is not folded, so the result equals the
teacher in eval mode. Other adapters are approximated by models/absorption/by_regression.py.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from models.absorption.exact_algebra import (
    fold_parallel,
    fold_sequential,
    parallel_obstacle,
    sequential_obstacle,
    units_needed,
)
from models.adapters.bottleneck import BottleneckAdapter
from models.adapters.invertible import has_invertible
from models.adapters.parameter_names import ADAPTER, is_adapter_parameter
from models.adapters.site import AdapterSettings, AdapterSite
from models.architectures.architecture import Architecture, Position
from models.architectures.dense import Dense, bias_of, stored_weight


@dataclass(frozen=True, kw_only=True, slots=True)
class FoldPlan:
    """Possibility and cost of an exact fold of a teacher's adapters."""

    extra_units: int
    """Units that every layer's FFN gains; 0 without an exact fold."""
    obstacles: tuple[str, ...]
    """Reasons against an exact fold, in sentences; empty where the fold is possible."""

    @property
    def possible(self) -> bool:
        """Whether `fold` gives a model with equal logits."""
        return not self.obstacles

    @property
    def free(self) -> bool:
        """Whether the folded model has the backbone's own shape."""
        return self.possible and self.extra_units == 0


def plan_fold(teacher: PreTrainedModel, architecture: Architecture) -> FoldPlan:
    """Return the plan of `fold`, from the adapters' settings and sizes alone."""
    activation = _ffn_activation(teacher, architecture)
    layers = [
        _Adapters.of(layer, architecture) for layer in architecture.layers(teacher.base_model)
    ]
    obstacles = dict.fromkeys(text for layer in layers for text in layer.obstacles(activation))
    if has_invertible(teacher):
        obstacles["An invertible adapter behind the embeddings has no exact fold."] = None
    units = [sum(units_needed(a, activation) for a in layer.parallel) for layer in layers]
    return FoldPlan(extra_units=0 if obstacles else max(units), obstacles=tuple(obstacles))


@torch.no_grad()
def fold(teacher: PreTrainedModel, architecture: Architecture) -> PreTrainedModel:
    """Return a new stock model, in eval mode, with the teacher's logits and without its adapters.

    Class, config, head and precision are the teacher's. Only the FFN's size grows, by
    `FoldPlan.extra_units`.

    Raises:
        ValueError: when no exact fold exists, with all reasons.
    """
    plan = plan_fold(teacher, architecture)
    if not plan.possible:
        raise ValueError(f"The adapters have no exact fold. {' '.join(plan.obstacles)}")
    config = copy.deepcopy(teacher.config)
    units = architecture.ffn_size(teacher.base_model) + plan.extra_units
    setattr(config, architecture.ffn_size_setting, units)
    with torch.random.fork_rng(devices=[]):  # every number drawn here is overwritten
        student = type(teacher)(config)
    cast(nn.Module, student).to(device=teacher.device, dtype=teacher.dtype)
    student.load_state_dict(_folded_tensors(teacher, architecture, units))
    student.eval()
    return student


class _Adapters(NamedTuple):
    """Active adapters of one layer by place, in order."""

    attention: list[BottleneckAdapter]
    """Adapters behind attention's output."""
    ffn: list[BottleneckAdapter]
    """Adapters behind the FFN's output."""
    parallel: list[BottleneckAdapter]
    """Adapters parallel to the FFN."""
    misplaced: list[str]
    """Obstacles at other places of the layer, in sentences."""

    @classmethod
    def of(cls, layer: nn.Module, architecture: Architecture) -> "_Adapters":
        """Find a layer's adapters."""
        found = cls([], [], [], [])
        places: dict[Position, list[BottleneckAdapter]] = {
            "attention": found.attention,
            "ffn": found.ffn,
        }
        for position, after_dense in places.items():
            dense = architecture.dense(layer, position)
            norm = architecture.norm_after(layer, position)
            if norm is not None and _active_in(norm):
                found.misplaced.append("An adapter behind a LayerNorm has no exact fold.")
            stacked = _active_in(dense)
            if stacked and bias_of(dense) is None:
                found.misplaced.append("Dense layers without a bias can't hold an adapter's own.")
            if stacked is None:
                found.misplaced.append("Adapters fold exactly alone or stacked, not mixed.")
            for adapter, settings in stacked or ():
                if settings.sees == "input" and position == "ffn":
                    if architecture.gated:
                        found.misplaced.append("A gated FFN can't hold a parallel adapter's units.")
                    found.parallel.append(adapter)
                elif settings.sees == "output" and settings.residual != "sum":
                    after_dense.append(adapter)
                    if found.parallel:
                        found.misplaced.append("An adapter after a parallel one does not fold.")
                else:
                    found.misplaced.append(
                        f"An adapter at {position} that sees the {settings.sees} with the "
                        f"{settings.residual} as its residual has no exact fold."
                    )
        return found

    def obstacles(self, ffn_activation: str) -> Iterator[str]:
        """Yield a sentence for every adapter that has no exact fold."""
        found = [sequential_obstacle(adapter) for adapter in (*self.attention, *self.ffn)]
        found += [parallel_obstacle(adapter, ffn_activation) for adapter in self.parallel]
        yield from (obstacle for obstacle in found if obstacle is not None)
        yield from self.misplaced


def _active_in(module: nn.Module) -> list[tuple[BottleneckAdapter, AdapterSettings]] | None:
    """Return a module's active adapters in order; None where they are not merely stacked."""
    site = getattr(module, ADAPTER, None)
    if site is None:
        return []
    if not isinstance(site, AdapterSite):
        raise TypeError(f"expected an AdapterSite, found {type(site).__name__}")
    return site.stacked()


def _ffn_activation(model: PreTrainedModel, architecture: Architecture) -> str:
    return str(getattr(model.config, architecture.activation_setting))


def _folded_tensors(
    teacher: PreTrainedModel, architecture: Architecture, units: int
) -> dict[str, Tensor]:
    """Return the folded model's state dict."""
    tensors = {n: t for n, t in teacher.state_dict().items() if not is_adapter_parameter(n)}
    names = {module: name for name, module in teacher.named_modules()}
    activation = _ffn_activation(teacher, architecture)
    for layer in architecture.layers(teacher.base_model):
        folded = _folded_layer(layer, architecture, activation=activation, units=units)
        for module, dense in folded.items():
            tensors[f"{names[module]}.weight"] = stored_weight(module, dense.weight)
            if bias_of(module) is not None:
                tensors[f"{names[module]}.bias"] = dense.bias
    return tensors


def _folded_layer(
    layer: nn.Module, architecture: Architecture, *, activation: str, units: int
) -> dict[nn.Module, Dense]:
    """Return a layer's dense modules after the fold."""
    adapters = _Adapters.of(layer, architecture)
    attention = architecture.dense(layer, "attention")
    ffn_input = layer.get_submodule(architecture.ffn_input)
    ffn_output = architecture.dense(layer, "ffn")
    wide_input, wide_output = fold_parallel(
        Dense.of(ffn_input),
        fold_sequential(Dense.of(ffn_output), adapters.ffn),
        adapters.parallel,
        activation=activation,
        units=units,
    )
    return {
        attention: fold_sequential(Dense.of(attention), adapters.attention),
        ffn_input: wide_input,
        ffn_output: wide_output,
    }
