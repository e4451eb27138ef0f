"""Which students a sweep makes, each as the config of a run of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.chain.sweep_grid import (
    Combination,
    check_space,
    list_combinations,
    name_settings,
)
from pipeline.chain.sweep_optuna import check_installed
from pipeline.config import DistillConfig, RunConfig, StudentConfig
from pipeline.config.sweep import Varied
from pipeline.errors import InputError
from pipeline.facts.variants import Precision, QuantizeFacts
from pipeline.graphs.variants import VARIANTS


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedStudent:
    """One student of a sweep."""

    name: str
    layers: tuple[int, ...]
    """Layers of the backbone that it keeps, from 0."""
    config: RunConfig
    """The run that makes it."""
    settings: Mapping[str, Varied]
    """Settings that the sweep varies, with this student's values."""


def plan_students(config: RunConfig, depth: int) -> tuple[PlannedStudent, ...]:
    """Return the students of every combination, for each the one of all layers first.

    The first of all is the run's own: it shares every stage with `adapter-distill run`.

    Args:
        config: What the students have in common.
        depth: Layers of the backbone.

    Raises:
        InputError: where the config chooses its student already, or a layer does not exist.
    """
    check_sweep(config)
    return tuple(
        student
        for combination in list_combinations(config)
        for student in students_of(combination, depth)
    )


def students_of(combination: Combination, depth: int) -> tuple[PlannedStudent, ...]:
    """Return the students of one combination, the one of all layers first.

    Raises:
        InputError: where a layer does not exist.
    """
    config, settings = combination.config, combination.settings
    return tuple(
        PlannedStudent(
            name=", ".join([name, *([name_settings(settings)] * bool(settings))]),
            layers=layers,
            config=config
            if len(layers) == depth
            else config.model_copy(
                update={
                    "student": StudentConfig(layers=layers),
                    "distill": DistillConfig(**config.sweep.distill.model_dump()),
                }
            ),
            settings=settings,
        )
        for layers, name in _layers_by_name(config, depth).items()
    )


def _layers_by_name(config: RunConfig, depth: int) -> dict[tuple[int, ...], str]:
    """Return the layers that students keep, all of them first, each with its name."""
    names = {tuple(range(depth)): _name(depth)}
    for wanted in config.sweep.layers:
        layers = even_layers(depth, wanted) if isinstance(wanted, int) else wanted
        if isinstance(wanted, int) and wanted > depth:
            continue
        _check_layers(layers, depth)
        name = _name(wanted) if isinstance(wanted, int) else f"layers {_list(layers)}"
        names.setdefault(layers, name)
    return names


def even_layers(depth: int, count: int) -> tuple[int, ...]:
    """Return layers at equal distances, the first one among them: ``0, 2, 4`` for three of six.

    A kept layer takes over what the skipped ones after it do, so that each has as many to carry.
    """
    return tuple(dict.fromkeys(number * depth // count for number in range(count)))


def shipped_as(config: RunConfig, precision: Precision, quantized: QuantizeFacts) -> RunConfig:
    """Return the config of the run in which this precision ships; the same one where it does."""
    if VARIANTS[quantized.chosen].precision == precision:
        return config
    quantize = config.quantize.model_copy(update={"ship": precision})
    return config.model_copy(update={"quantize": quantize})


def check_sweep(config: RunConfig) -> None:
    """Refuse a config that chooses its student already, or varies what a sweep cannot.

    Raises:
        InputError: saying by which settings; or that sweep.trials lacks its package.
    """
    problems = [
        f"{setting} must be left out, because a sweep chooses it"
        for setting, value in (
            ("student.layers", config.student.layers),
            ("student.model", config.student.model),
        )
        if value is not None
    ]
    if not config.quantize.enabled:
        problems.append("quantize.enabled must be on, because it makes the int8 files")
    if problems:
        raise InputError(f"A sweep of {config.name}: {'; '.join(problems)}.")
    if config.sweep.trials is None:
        list_combinations(config)
    else:
        check_space(config)
        check_installed()


def _check_layers(layers: Sequence[int], depth: int) -> None:
    if list(layers) != sorted(set(layers)) or layers[-1] >= depth:
        raise InputError(
            f"sweep.layers: expected increasing numbers of the backbone's layers, 0 to "
            f"{depth - 1}, found {_list(layers)}."
        )


def _name(count: int) -> str:
    return f"{count} layer" if count == 1 else f"{count} layers"


def _list(layers: Sequence[int]) -> str:
    return ", ".join(map(str, layers))
