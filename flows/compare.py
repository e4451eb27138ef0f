"""Ways to adapt one backbone, compared on the same data and budget, as one Prefect flow."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

from prefect import flow
from transformers import PreTrainedModel

from flows.building import building
from flows.chain import STAGES
from flows.page.run import explain_failure, show_rows
from flows.stages.declaration import stage_task, with_model
from flows.stages.student import absorb_stage, distill_stage, soft_targets_stage
from flows.stages.teacher import data_stage, find_model, finetune_stage, head_only_stage
from models.losses import SINGLE_LABEL as OBJECTIVE
from pipeline.checkpoints.pretrained import Checkpoint, load_classifier
from pipeline.checkpoints.teachers import load_teacher
from pipeline.config import AdapterConfig, RunConfig
from pipeline.errors import InputError
from pipeline.facts.comparison import ComparisonFacts
from pipeline.facts.data import DataFacts
from pipeline.facts.training import BaselineFacts, TeacherFacts
from pipeline.report.methods_page import publish_comparison, table_rows
from pipeline.stages.compare_methods import Candidate, compare_methods
from pipeline.stages.finetune_baseline import finetune_baseline, load_unmerged_lora
from pipeline.store.stage import Stage
from pipeline.store.store import Store
from pipeline.tasks.classification import SINGLE_LABEL as TASK
from pipeline.timing.machine import describe_machine

ADAPTERS = ("houlsby", "pfeiffer", "parallel")


@flow(
    name="compare-methods",
    flow_run_name="compare-{config.name}",
    validate_parameters=True,
    persist_result=False,
    on_failure=[explain_failure],
    on_crashed=[explain_failure],
)
def compare(config: RunConfig) -> Path:
    """Train adapters, LoRA and the whole model; measure them, and the students of the adapters.

    Args:
        config: What to run; `compare` says which methods.
    """
    _own_adapter(config)  # refused before anything is trained
    with building(config.runs_dir / STAGES) as store:
        finished = _compare(store, config)
    metric = TASK.main_metric
    folder = publish_comparison(config, finished, metric)
    show_rows(
        "adapters-against-lora",
        table_rows(finished.facts, metric),
        folder / "comparison.png",
        told="Ways to adapt one backbone, and their students",
    )
    return folder


def _compare(store: Store, config: RunConfig) -> Stage[ComparisonFacts]:
    backbone = find_model(config.teacher)
    data = data_stage(store, config)
    head = head_only_stage(store, config, data, backbone)
    stages: list[Stage[Any]] = [head]
    candidates = [_candidate("head only", head, backbone)]
    for kind in ADAPTERS:
        if kind in config.compare.methods:
            own = _with_adapter(config, kind=kind)
            teacher = finetune_stage(store, own, data, head, backbone)
            absorbed = absorb_stage(store, own, data, teacher, backbone)
            targets = soft_targets_stage(store, own, data, teacher, backbone)
            student = distill_stage(store, own, data, teacher, targets, absorbed, backbone)
            stages += [teacher, absorbed, student]
            candidates += [
                _candidate(kind, teacher, backbone),
                _student(f"{kind} absorbed", absorbed, kind, data),
                _student(f"{kind} distilled", student, kind, data),
            ]
    for size in config.compare.bottleneck_sizes:
        own = _with_adapter(config, kind="houlsby", bottleneck_size=size)
        teacher = finetune_stage(store, own, data, head, backbone)
        absorbed = absorb_stage(store, own, data, teacher, backbone)
        stages += [teacher, absorbed]
        name = f"houlsby {size}"
        candidates += [
            _candidate(name, teacher, backbone),
            _student(f"{name} absorbed", absorbed, name, data),
        ]
    methods: tuple[Literal["lora", "full"], ...] = ("lora", "full")
    for method in methods:
        if method in config.compare.methods:
            trained = baseline_stage(store, config, data, head, backbone, method)
            stages.append(trained)
            candidates += _baselines(trained, config, data, backbone)
    return comparison_stage(store, config, data, backbone, candidates, stages)


@stage_task("finetune-baseline")
def baseline_stage(
    store: Store,
    config: RunConfig,
    data: Stage[DataFacts],
    head: Stage[TeacherFacts],
    backbone: Checkpoint,
    method: Literal["full", "lora"],
) -> Stage[BaselineFacts]:
    """LoRA or full fine-tuning, on the same data and budget as the adapters."""
    rates = {"lora": config.compare.lora_learning_rate, "full": config.compare.full_learning_rate}
    training = config.finetune.model_copy(update={"learning_rate": rates[method]})
    build = partial(
        finetune_baseline,
        data,
        backbone,
        training,
        method=method,
        lora=config.compare.lora,
        task=TASK,
        objective=OBJECTIVE,
        head_from=head,
        max_length=config.data.max_length,
        seed=config.seed,
    )
    settings = with_model(
        config,
        backbone,
        training=training,
        method=method,
        lora=config.compare.lora if method == "lora" else None,
    )
    return store.ensure(
        "finetune-baseline", build, BaselineFacts, settings=settings, inputs=[data, head]
    )


@stage_task("compare")
def comparison_stage(
    store: Store,
    config: RunConfig,
    data: Stage[DataFacts],
    backbone: Checkpoint,
    candidates: list[Candidate],
    stages: list[Stage[Any]],
) -> Stage[ComparisonFacts]:
    """All of them, measured side by side."""
    build = partial(
        compare_methods,
        data,
        backbone,
        candidates,
        task=TASK,
        evaluate=config.evaluate,
        export=config.export,
        benchmark=config.benchmark,
        max_length=config.data.max_length,
        seed=config.seed,
    )
    settings = with_model(
        config,
        backbone,
        candidates=[(each.name, each.teacher) for each in candidates],
        evaluate=config.evaluate,
        export=config.export,
        benchmark=config.benchmark,
        machine=describe_machine(),
    )
    return store.ensure(
        "compare", build, ComparisonFacts, settings=settings, inputs=[data, *stages]
    )


def _with_adapter(config: RunConfig, **settings: object) -> RunConfig:
    changed = AdapterConfig.model_validate(_own_adapter(config).model_dump() | settings)
    teacher = config.teacher.model_copy(update={"adapter": changed})
    return config.model_copy(update={"teacher": teacher})


def _own_adapter(config: RunConfig) -> AdapterConfig:
    if isinstance(config.teacher.adapter, AdapterConfig):
        return config.teacher.adapter
    raise InputError(
        "A comparison trains its own adapters, and teacher.adapter.from names ones that there are "
        "already. Give their settings: teacher.adapter = { bottleneck_size = 64 }."
    )


def _candidate(name: str, stage: Stage[TeacherFacts], backbone: Checkpoint) -> Candidate:
    return Candidate(
        name=name,
        load=partial(load_teacher, backbone, stage.folder, OBJECTIVE),
        trainable_parameters=stage.facts.trainable_parameters,
    )


def _student(name: str, stage: Stage[Any], teacher: str, data: Stage[DataFacts]) -> Candidate:
    return Candidate(name=name, load=_stock(stage, data), trainable_parameters=0, teacher=teacher)


def _baselines(
    stage: Stage[BaselineFacts], config: RunConfig, data: Stage[DataFacts], backbone: Checkpoint
) -> list[Candidate]:
    trained = stage.facts.trainable_parameters
    if stage.facts.method == "full":
        return [
            Candidate(
                name="full fine-tuning", load=_stock(stage, data), trainable_parameters=trained
            )
        ]
    unmerged = partial(
        load_unmerged_lora,
        backbone,
        stage.folder,
        OBJECTIVE,
        config.compare.lora,
        labels=data.facts.labels,
    )
    return [
        Candidate(name="lora", load=unmerged, trainable_parameters=trained),
        Candidate(
            name="lora merged", load=_stock(stage, data), trainable_parameters=0, teacher="lora"
        ),
    ]


# Any: a stage of whatever facts, whose folder holds a stock model.
def _stock(stage: Stage[Any], data: Stage[DataFacts]) -> Callable[[], PreTrainedModel]:
    checkpoint = Checkpoint(folder=stage.folder, digest=stage.digest)
    return partial(load_classifier, checkpoint, OBJECTIVE, labels=data.facts.labels, seed=0)
