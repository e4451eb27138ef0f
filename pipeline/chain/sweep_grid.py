"""The settings that a sweep varies, every combination as a config of its own."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.config import RunConfig
from pipeline.config.load import change_config
from pipeline.config.sweep import Varied
from pipeline.errors import InputError

_TABLES = ("teacher.adapter", "head_only", "finetune", "fuse", "absorb", "distill", "quantize")
"""Tables that shape a teacher or a student, and not what all of them are measured on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Combination:
    """One combination of the settings that a sweep varies."""

    settings: Mapping[str, Varied]
    """Every varied setting with its value; empty where nothing is varied."""
    config: RunConfig
    """The config with these values; the sweep's own one comes first."""


def list_combinations(config: RunConfig) -> tuple[Combination, ...]:
    """Return the config itself, then every other combination of `sweep.over`.

    Raises:
        InputError: for a setting that a sweep may not vary, or a value that it does not take.
    """
    over = config.sweep.over
    for name in over:
        _check_varied(name)
    combinations = [Combination(settings=_values_of(config, over), config=config)]
    for values in itertools.product(*over.values()):
        changed = _changed(config, dict(zip(over, values, strict=True)))
        if changed not in (each.config for each in combinations):
            combinations.append(Combination(settings=_values_of(changed, over), config=changed))
    return tuple(combinations)


def name_settings(settings: Mapping[str, Varied]) -> str:
    """Return settings for people, by their last names where these differ.

    An example is ``bottleneck_size 16, distill.epochs 2``.
    """
    last = [name.rpartition(".")[2] for name in settings]
    return ", ".join(
        f"{short if last.count(short) == 1 else name} "
        f"{f'{value:g}' if isinstance(value, float) else value}"
        for (name, value), short in zip(settings.items(), last, strict=True)
    )


def _check_varied(name: str) -> None:
    if not any(name.startswith(f"{table}.") for table in _TABLES):
        raise InputError(
            f"sweep.over: {name} cannot be varied, because all students are measured on the same "
            f"texts, in the same way. Vary settings of {', '.join(_TABLES)}; sweep.layers and "
            "sweep.precisions are varied by themselves."
        )


def _changed(config: RunConfig, values: Mapping[str, Varied]) -> RunConfig:
    # Students that lack layers have a distillation of their own, which varies with the other.
    own = {f"sweep.{name}": value for name, value in values.items() if name.startswith("distill.")}
    return change_config(config, {**values, **own}, origin="sweep.over")


def _values_of(config: RunConfig, names: Mapping[str, Any]) -> dict[str, Varied]:
    """Return what a config has for each name."""
    tree = config.model_dump(mode="json", by_alias=True)
    found = {}
    for name in names:
        value: Any = tree
        for part in name.split("."):
            if not isinstance(value, dict) or part not in value:
                raise InputError(f"sweep.over: this config has no setting {name}. Correct it.")
            value = value[part]
        found[name] = value
    return found
