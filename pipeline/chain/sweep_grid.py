"""The settings that a sweep varies, every combination as a config of its own."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.config import RunConfig
from pipeline.config.load import change_config
from pipeline.config.sweep import Varied, VariedRange
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


def own_combination(config: RunConfig) -> Combination:
    """Return the config itself, as a combination of the settings that its sweep varies."""
    return Combination(settings=_values_of(config, config.sweep.over), config=config)


def combine(config: RunConfig, values: Mapping[str, Varied]) -> Combination:
    """Return the config with these values of the settings that its sweep varies.

    Raises:
        InputError: for values that the settings do not take.
    """
    # Students that lack layers have a distillation of their own, which varies with the other.
    own = {f"sweep.{name}": value for name, value in values.items() if name.startswith("distill.")}
    changed = change_config(config, {**values, **own}, origin="sweep.over")
    return Combination(settings=_values_of(changed, config.sweep.over), config=changed)


def list_combinations(config: RunConfig) -> tuple[Combination, ...]:
    """Return the config itself, then every other combination of `sweep.over`.

    Raises:
        InputError: for a setting that a sweep may not vary, or a value that it does not take.
    """
    over = config.sweep.over
    for name in over:
        _check_varied(name)
    combinations = [own_combination(config)]
    for values in itertools.product(*map(_values_or_ends, over.values())):
        combination = combine(config, dict(zip(over, values, strict=True)))
        if combination.config not in (each.config for each in combinations):
            combinations.append(combination)
    return tuple(combinations)


def check_space(config: RunConfig) -> None:
    """Refuse what the trials of a sweep cannot vary: each value and each end of a range is tried.

    Raises:
        InputError: naming the setting.
    """
    over = config.sweep.over
    for name in over:
        _check_varied(name)
        if name.startswith("quantize."):
            raise InputError(
                f"sweep.over: {name} cannot be varied by trials, because they are judged before "
                "quantisation. Leave sweep.trials out, or this setting."
            )
    columns = {name: _values_or_ends(values) for name, values in over.items()}
    for row in range(max(map(len, columns.values()))):
        values = {name: column[row % len(column)] for name, column in columns.items()}
        found = combine(config, values).settings
        for name, given in over.items():
            if isinstance(given, VariedRange):
                _check_range(name, given, found[name])


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


def _values_or_ends(given: tuple[Varied, ...] | VariedRange) -> tuple[Varied, ...]:
    return (given.low, given.high) if isinstance(given, VariedRange) else given


def _check_varied(name: str) -> None:
    if not any(name.startswith(f"{table}.") for table in _TABLES):
        raise InputError(
            f"sweep.over: {name} cannot be varied, because all students are measured on the same "
            f"texts, in the same way. Vary settings of {', '.join(_TABLES)}; sweep.layers and "
            "sweep.precisions are varied by themselves."
        )


def _check_range(name: str, given: VariedRange, read: Varied) -> None:
    """Refuse a range of a setting that is not the range's kind of number.

    Args:
        read: An end of the range, as the setting reads it.
    """
    if isinstance(read, bool) or not isinstance(read, int | float):
        raise InputError(f"sweep.over: {name} is no number and has no range. List its values.")
    if isinstance(read, int) and not given.is_whole:
        raise InputError(
            f"sweep.over: {name} takes whole numbers, found the range {given.low} to {given.high}. "
            "Write both ends without a decimal point."
        )


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
