"""Look at a teacher before anything is absorbed: what folds exactly, and how close the rest comes.

A trial absorbs a few of the given texts and leaves no file behind. Its result is a lower bound:
more texts bring the student closer.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import nn
from transformers import PreTrainedModel

from models.absorption.exact import FoldPlan, plan_fold
from models.adapters.parameter_names import is_adapter_parameter
from models.adapters.site import AdapterSettings
from models.architectures.architecture import Architecture
from pipeline.checkpoints.pretrained import find_architecture
from pipeline.checkpoints.teachers import adapters_of, load_backed_teacher
from pipeline.config import AbsorbConfig
from pipeline.errors import InputError
from pipeline.facts.absorption import AbsorbFacts
from pipeline.standalone.absorb import absorb_alone
from pipeline.texts.tables import Text

TRIAL_TEXTS = 256
"""Texts that a trial absorbs, at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """A small absorption, and what it says of a larger one."""

    facts: AbsorbFacts
    seconds_per_1000: float
    """Time that 1,000 more texts take on this machine, in seconds; an upper bound."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """Findings about a teacher, without any training or absorption."""

    backbone: str
    task: str
    labels: tuple[str, ...]
    adapters: dict[str, AdapterSettings]
    """By name."""
    parameters: int
    """Parameters of all adapters."""
    extra_work: float
    """Multiplications that the adapters add, as part of those of the layers' dense modules."""
    fold: FoldPlan
    advice: tuple[str, ...]
    """Advantages of other adapters, in sentences."""
    trial: Trial | None


def inspect_teacher(
    teacher: Path, texts: Sequence[Text] = (), *, backbone: str | None = None
) -> Inspection:
    """Return what a teacher's adapters are, and how they will be absorbed.

    Args:
        teacher: Folder of a finetune stage, such as ``runs/latest/finetune``.
        texts: Unlabelled texts or pairs for a trial; none leaves it out.
        backbone: The teacher's backbone; None takes the one that the teacher names.

    Raises:
        InputError: when the folder holds no teacher, its backbone is another one or is gone, it
            has no adapters, or there are too few texts for a trial.
    """
    description, checkpoint, model = load_backed_teacher(teacher, backbone=backbone)
    if description.adapter is None:
        raise InputError(f"The teacher in {teacher} has no adapters: there is nothing to absorb.")
    architecture = find_architecture(model)
    plan = plan_fold(model, architecture)
    adapters = adapters_of(description.adapter).adapters
    weights = [(name, p) for name, p in model.named_parameters() if is_adapter_parameter(name)]
    return Inspection(
        backbone=checkpoint.reference,
        task=description.task,
        labels=description.labels,
        adapters=adapters,
        parameters=sum(parameter.numel() for _, parameter in weights),
        extra_work=_extra_work(model, architecture),
        fold=plan,
        advice=_advise(plan, list(adapters.values()), model, architecture),
        trial=_try(teacher, texts, backbone) if texts else None,
    )


def _extra_work(model: PreTrainedModel, architecture: Architecture) -> float:
    """Return the adapters' multiplications per token, as part of those of the layers' own."""
    layers: nn.Module = architecture.layers(model.base_model)
    matrices = [(name, p.numel()) for name, p in layers.named_parameters() if p.ndim == 2]
    added = sum(size for name, size in matrices if is_adapter_parameter(name))
    return added / sum(size for name, size in matrices if not is_adapter_parameter(name))


def _advise(
    plan: FoldPlan,
    adapters: Sequence[AdapterSettings],
    model: PreTrainedModel,
    architecture: Architecture,
) -> tuple[str, ...]:
    """Return what would have been easier to absorb."""
    if plan.possible:
        return ()
    activation = getattr(model.config, architecture.activation_setting)
    advice = []
    if not architecture.gated:
        advice.append(
            f'A parallel adapter with the FFN\'s activation (kind = "parallel", activation = '
            f'"{activation}") folds exactly, into as many more FFN units as its bottleneck has.'
        )
    advice.append(
        'A linear adapter (activation = "linear") folds exactly, at no cost; it learns less.'
    )
    if any(each.attention for each in adapters):
        advice.append(
            "Most of the remaining error comes from the adapters after attention in the lowest "
            'layers. teacher.adapter.drop_layers or kind = "pfeiffer" does without them.'
        )
    return tuple(advice)


def _try(teacher: Path, texts: Sequence[Text], backbone: str | None) -> Trial:
    """Absorb a few texts into a folder that is removed again."""
    few = texts[:TRIAL_TEXTS]
    with TemporaryDirectory(prefix="inspect-") as folder:
        start = time.monotonic()
        config = AbsorbConfig(texts=max(8, len(few)))
        facts = absorb_alone(teacher, few, Path(folder) / "student", config, backbone=backbone)
        seconds = time.monotonic() - start
    return Trial(facts=facts, seconds_per_1000=1000 * seconds / len(few))
