"""Ways to adapt one backbone, compared on the same data and budget, as one program."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from transformers import PreTrainedModel

from pipeline.chain.program import Program, built, found
from pipeline.chain.student_steps import absorb_step, distill_step, soft_targets
from pipeline.chain.teacher_steps import (
    data_step,
    find_model,
    head_only_step,
    make_context,
    teacher_step,
)
from pipeline.chain.turns import Turns
from pipeline.checkpoints.context import ModelContext
from pipeline.checkpoints.pretrained import Checkpoint
from pipeline.checkpoints.teachers import load_teacher
from pipeline.checkpoints.weights import load_model
from pipeline.config import AdapterConfig, RunConfig
from pipeline.errors import InputError
from pipeline.facts.arms import Arm
from pipeline.facts.comparison import ComparisonFacts
from pipeline.facts.data import DataFacts
from pipeline.facts.training import BaselineFacts, TeacherFacts
from pipeline.stages.compare_methods import Candidate, CompareSettings, compare_methods
from pipeline.stages.finetune_baseline import (
    BaselineSettings,
    finetune_baseline,
    load_unmerged_lora,
)
from pipeline.store.stage import Stage
from pipeline.store.step import Step, step
from pipeline.timing.machine import describe_machine

ADAPTERS = ("houlsby", "pfeiffer", "parallel")
METHODS: tuple[Literal["lora", "full"], ...] = ("lora", "full")

# Any: a stage of whatever facts, whose folder holds a model.
Trained = tuple[list[Stage[Any]], list[Candidate]]


def comparison(config: RunConfig) -> Program[Stage[ComparisonFacts]]:
    """Yield the steps of every method that `compare.methods` names; return the comparison."""
    own_adapter(config)  # refused before anything is trained
    context = make_context(config, (yield from found(find_model(config.teacher))))
    data = yield from built(data_step(config))
    head = yield from built(head_only_step(config, context, data))
    stages, candidates = yield from _every_method(config, context, data, head)
    settings = CompareSettings(
        context=context,
        candidates=tuple(candidates),
        evaluate=config.evaluate,
        export=config.export,
        benchmark=config.benchmark,
        machine=describe_machine(),
    )
    return (
        yield from built(
            step(
                "compare",
                compare_methods,
                data,
                tuple(stages),
                settings=settings,
                facts=ComparisonFacts,
            )
        )
    )


def _every_method(
    config: RunConfig, context: ModelContext, data: Stage[DataFacts], head: Stage[TeacherFacts]
) -> Program[Trained]:
    """Yield the steps of every method, one after the other; the trained head comes first."""
    stages: list[Stage[Any]] = [head]
    candidates = [_teacher("head only", head, context)]
    adapted = _adapted(config)
    methods = [method for method in METHODS if method in config.compare.methods]
    turns = Turns("method", len(adapted) + len(methods), title="methods")
    for name, own, is_distilled in adapted:
        adapters = _adapters(name, own, context, data, head, is_distilled=is_distilled)
        new = yield from turns.take(name, adapters)
        stages += new[0]
        candidates += new[1]
    for method in methods:
        baseline = built(_baseline_step(config, context, data, head, method))
        trained = yield from turns.take(method, baseline)
        stages.append(trained)
        candidates += _baselines(trained, config, context, data)
    turns.end()
    return stages, candidates


def own_adapter(config: RunConfig) -> AdapterConfig:
    """Return the adapter that a comparison varies.

    Raises:
        InputError: where the config names existing adapters instead.
    """
    if isinstance(config.teacher.adapter, AdapterConfig):
        return config.teacher.adapter
    raise InputError(
        "A comparison trains its own adapters, and teacher.adapter.from names existing ones. Give "
        "their settings: teacher.adapter = { bottleneck_size = 64 }."
    )


def _adapted(config: RunConfig) -> list[tuple[str, RunConfig, bool]]:
    """Return (name, config, whether its student is distilled too) of every kind of adapter."""
    kinds = [
        (kind, _with_adapter(config, kind=kind), True)
        for kind in ADAPTERS
        if kind in config.compare.methods
    ]
    sizes = [
        (f"houlsby {size}", _with_adapter(config, kind="houlsby", bottleneck_size=size), False)
        for size in config.compare.bottleneck_sizes
    ]
    return kinds + sizes


def _adapters(
    name: str,
    config: RunConfig,
    context: ModelContext,
    data: Stage[DataFacts],
    head: Stage[TeacherFacts],
    *,
    is_distilled: bool,
) -> Program[Trained]:
    """Yield the steps of one kind of adapter, and of its students."""
    teacher = yield from built(teacher_step(config, context, data, head))
    absorbed = yield from built(absorb_step(config, context, data, teacher))
    stages: list[Stage[Any]] = [teacher, absorbed]
    candidates = [
        _teacher(name, teacher, context),
        _student(f"{name} absorbed", absorbed, name, context, data),
    ]
    if is_distilled:
        targets = yield from soft_targets(config, context, data, teacher)
        student = yield from built(distill_step(config, context, data, teacher, targets, absorbed))
        stages.append(student)
        candidates.append(_student(f"{name} distilled", student, name, context, data))
    return stages, candidates


def _baseline_step(
    config: RunConfig,
    context: ModelContext,
    data: Stage[DataFacts],
    head: Stage[TeacherFacts],
    method: Literal["full", "lora"],
) -> Step[BaselineFacts]:
    """LoRA or full fine-tuning, on the same data and budget as the adapters."""
    compare = config.compare
    rates = {"lora": compare.lora_learning_rate, "full": compare.full_learning_rate}
    settings = BaselineSettings(
        context=context,
        training=config.finetune.model_copy(update={"learning_rate": rates[method]}),
        method=method,
        lora=compare.lora if method == "lora" else None,
    )
    return step(
        "finetune-baseline", finetune_baseline, data, head, settings=settings, facts=BaselineFacts
    )


def _with_adapter(config: RunConfig, **settings: object) -> RunConfig:
    changed = AdapterConfig.model_validate(own_adapter(config).model_dump() | settings)
    teacher = config.teacher.model_copy(update={"adapter": changed})
    return config.model_copy(update={"teacher": teacher})


def _teacher(name: str, stage: Stage[TeacherFacts], context: ModelContext) -> Candidate:
    return Candidate(
        name=Arm(name),
        load=partial(load_teacher, context.backbone, stage.folder),
        trainable_parameters=stage.facts.trainable_parameters,
    )


def _student(
    name: str, stage: Stage[Any], teacher: str, context: ModelContext, data: Stage[DataFacts]
) -> Candidate:
    load = _stock(stage, context, data)
    return Candidate(name=Arm(name), load=load, trainable_parameters=0, teacher=Arm(teacher))


def _baselines(
    stage: Stage[BaselineFacts], config: RunConfig, context: ModelContext, data: Stage[DataFacts]
) -> list[Candidate]:
    trained = stage.facts.trainable_parameters
    stock = _stock(stage, context, data)
    if stage.facts.method == "full":
        name = Arm("full fine-tuning")
        return [Candidate(name=name, load=stock, trainable_parameters=trained)]
    unmerged = partial(
        load_unmerged_lora, context, stage.folder, config.compare.lora, labels=data.facts.labels
    )
    lora, merged = Arm("lora"), Arm("lora merged")
    return [
        Candidate(name=lora, load=unmerged, trainable_parameters=trained),
        Candidate(name=merged, load=stock, trainable_parameters=0, teacher=lora),
    ]


def _stock(
    stage: Stage[Any], context: ModelContext, data: Stage[DataFacts]
) -> Callable[[], PreTrainedModel]:
    weights = Checkpoint(folder=stage.folder, digest=stage.digest)
    return partial(load_model, weights, context.task.objective(), labels=data.facts.labels)
