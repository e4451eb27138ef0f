"""The stages as Prefect tasks: which settings and inputs each depends on, and its retries.

A task asks the store for its stage, and the store builds it only where nothing equal is finished.
Prefect's own result cache stays out of it: it would not notice a changed file.
"""

from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub.constants import HF_HUB_OFFLINE
from prefect import task
from prefect.cache_policies import NO_CACHE

from models.objective import SINGLE_LABEL as OBJECTIVE
from pipeline.absorb import absorb
from pipeline.artifacts import Stage, Store, sha256_file
from pipeline.benchmark import benchmark
from pipeline.checkpoints import Checkpoint, find_checkpoint
from pipeline.config import AdapterConfig, AdapterSource, ModelConfig, RunConfig
from pipeline.data import prepare_data
from pipeline.distill import distill
from pipeline.errors import UnreachableError
from pipeline.evaluate import evaluate
from pipeline.export import export
from pipeline.finetune import finetune
from pipeline.head_only import head_only
from pipeline.import_teacher import adapters_digest, import_teacher
from pipeline.proof.ladder import TorchTeacher
from pipeline.proof.machine import describe_machine
from pipeline.quantize import quantize
from pipeline.records import (
    AbsorbFacts,
    BenchmarkFacts,
    DataFacts,
    EvaluateFacts,
    ExportFacts,
    QuantizeFacts,
    SoftTargetFacts,
    StudentFacts,
    TeacherFacts,
)
from pipeline.soft_targets import compute_soft_targets
from pipeline.sources import fingerprint
from pipeline.tables import read_split
from pipeline.task import SINGLE_LABEL as TASK
from pipeline.teachers import TEACHER_TENSORS, read_teacher


def _is_passing(_task: Any, _run: Any, state: Any) -> bool:
    """Tell whether a failure may pass by itself: only what is outside this machine."""
    unreachable = isinstance(state.result(raise_on_failure=False), UnreachableError)
    return unreachable and not HF_HUB_OFFLINE


@task(
    name="find-model",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_delay_seconds=[5, 20],
    retry_condition_fn=_is_passing,
)
def find_model(config: ModelConfig) -> Checkpoint:
    """Return the local folder of a pretrained model."""
    return find_checkpoint(config)


@task(
    name="data",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_delay_seconds=[5, 20],
    retry_condition_fn=_is_passing,
)
def data_stage(store: Store, config: RunConfig) -> Stage[DataFacts]:
    """Texts, labels and splits."""
    sources = (config.data.train, config.data.validation, config.data.test)
    return store.ensure(
        "data",
        partial(prepare_data, config.data, seed=config.seed),
        DataFacts,
        settings={
            "data": config.data.model_dump(exclude={"max_length"}),
            "sources": [fingerprint(source) for source in sources if source is not None],
            "seed": config.seed,
        },
    )


@task(name="head-only", cache_policy=NO_CACHE, persist_result=False)
def head_only_stage(
    store: Store, config: RunConfig, data: Stage[DataFacts], backbone: Checkpoint
) -> Stage[TeacherFacts]:
    """The baseline: the frozen backbone with only its head."""
    build = partial(
        head_only,
        data,
        backbone,
        config.head_only,
        task=TASK,
        objective=OBJECTIVE,
        max_length=config.data.max_length,
        seed=config.seed,
    )
    settings = {"training": config.head_only, **common_settings(config, backbone)}
    return store.ensure("head-only", build, TeacherFacts, settings=settings, inputs=[data])


@task(name="finetune", cache_policy=NO_CACHE, persist_result=False)
def finetune_stage(
    store: Store,
    config: RunConfig,
    data: Stage[DataFacts],
    head_only: Stage[TeacherFacts],
    backbone: Checkpoint,
) -> Stage[TeacherFacts]:
    """The teacher: adapters and head on the frozen backbone."""
    adapter = config.teacher.adapter
    if not isinstance(adapter, AdapterConfig):
        raise TypeError(f"expected an AdapterConfig, found {type(adapter).__name__}")
    start = Path(config.teacher.start) if config.teacher.start else None
    build = partial(
        finetune,
        data,
        backbone,
        config.finetune,
        task=TASK,
        objective=OBJECTIVE,
        adapter=adapter,
        head_from=head_only,
        start=start,
        max_length=config.data.max_length,
        seed=config.seed,
    )
    settings = {
        "training": config.finetune,
        "adapter": adapter,
        **common_settings(config, backbone),
    }
    if start is not None:
        read_teacher(start)  # a wrong folder is told before anything is trained
        settings["start"] = sha256_file(start / TEACHER_TENSORS)
    return store.ensure(
        "finetune", build, TeacherFacts, settings=settings, inputs=[data, head_only]
    )


@task(
    name="import",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_delay_seconds=[5, 20],
    retry_condition_fn=_is_passing,
)
def import_stage(
    store: Store, config: RunConfig, data: Stage[DataFacts], backbone: Checkpoint
) -> Stage[TeacherFacts]:
    """The teacher, of adapters that were trained elsewhere."""
    source = config.teacher.adapter
    if not isinstance(source, AdapterSource):
        raise TypeError(f"expected an AdapterSource, found {type(source).__name__}")
    build = partial(
        import_teacher,
        data,
        backbone,
        source,
        task=TASK,
        objective=OBJECTIVE,
        max_length=config.data.max_length,
    )
    settings = {
        "adapter": source,
        "files": adapters_digest(source),
        **common_settings(config, backbone),
    }
    return store.ensure("import", build, TeacherFacts, settings=settings, inputs=[data])


@task(name="absorb", cache_policy=NO_CACHE, persist_result=False)
def absorb_stage(
    store: Store,
    config: RunConfig,
    data: Stage[DataFacts],
    teacher: Stage[TeacherFacts],
    backbone: Checkpoint,
) -> Stage[AbsorbFacts]:
    """The student's closed-form start."""
    build = partial(
        absorb,
        read_split(data.folder, "train").head(config.absorb.texts).texts,
        teacher.folder,
        backbone,
        config.absorb,
        task=TASK,
        objective=OBJECTIVE,
        layers=config.student.layers,
        max_length=config.data.max_length,
        seed=config.seed,
    )
    settings = {
        "absorb": config.absorb,
        "layers": config.student.layers,
        **common_settings(config, backbone),
    }
    return store.ensure("absorb", build, AbsorbFacts, settings=settings, inputs=[data, teacher])


@task(name="soft-targets", cache_policy=NO_CACHE, persist_result=False)
def soft_targets_stage(
    store: Store,
    config: RunConfig,
    data: Stage[DataFacts],
    teacher: Stage[TeacherFacts],
    backbone: Checkpoint,
) -> Stage[SoftTargetFacts]:
    """What the teacher says of the training and validation texts."""
    build = partial(
        compute_soft_targets,
        data,
        teacher,
        backbone,
        objective=OBJECTIVE,
        texts=config.distill.texts,
        max_length=config.data.max_length,
    )
    settings = {"texts": config.distill.texts, **common_settings(config, backbone)}
    return store.ensure(
        "soft-targets", build, SoftTargetFacts, settings=settings, inputs=[data, teacher]
    )


@task(name="distill", cache_policy=NO_CACHE, persist_result=False)
def distill_stage(
    store: Store,
    config: RunConfig,
    data: Stage[DataFacts],
    teacher: Stage[TeacherFacts],
    targets: Stage[SoftTargetFacts],
    absorbed: Stage[AbsorbFacts] | None,
    pretrained: Checkpoint,
) -> Stage[StudentFacts]:
    """The student."""
    build = partial(
        distill,
        data,
        teacher,
        targets,
        absorbed,
        pretrained,
        config.distill,
        task=TASK,
        objective=OBJECTIVE,
        layers=config.student.layers,
        max_length=config.data.max_length,
        seed=config.seed,
    )
    settings = {
        "distill": config.distill,
        "layers": config.student.layers,
        **common_settings(config, pretrained),
    }
    inputs = [data, teacher, targets, *([absorbed] if absorbed else [])]
    return store.ensure("distill", build, StudentFacts, settings=settings, inputs=inputs)


@task(name="export", cache_policy=NO_CACHE, persist_result=False)
def export_stage(
    store: Store,
    config: RunConfig,
    data: Stage[DataFacts],
    head_only: Stage[TeacherFacts],
    teacher: Stage[TeacherFacts],
    student: Stage[StudentFacts],
    backbone: Checkpoint,
) -> Stage[ExportFacts]:
    """Backbone, teacher and student as ONNX, proven equal to torch."""
    build = partial(
        export,
        data,
        head_only,
        teacher,
        student,
        backbone,
        config.export,
        objective=OBJECTIVE,
        max_length=config.data.max_length,
    )
    settings = {"export": config.export, **common_settings(config, backbone)}
    inputs = [data, head_only, teacher, student]
    return store.ensure("export", build, ExportFacts, settings=settings, inputs=inputs)


@task(name="quantize", cache_policy=NO_CACHE, persist_result=False)
def quantize_stage(
    store: Store, config: RunConfig, data: Stage[DataFacts], exported: Stage[ExportFacts]
) -> Stage[QuantizeFacts]:
    """Variants of the student, and the one that ships from this machine."""
    build = partial(quantize, data, exported, config.quantize, task=TASK, seed=config.seed)
    settings = {
        "quantize": config.quantize,
        "seed": config.seed,
        "machine": describe_machine(),
    }
    return store.ensure(
        "quantize", build, QuantizeFacts, settings=settings, inputs=[data, exported]
    )


@task(name="evaluate", cache_policy=NO_CACHE, persist_result=False)
def evaluate_stage(
    store: Store,
    config: RunConfig,
    data: Stage[DataFacts],
    exported: Stage[ExportFacts],
    quantized: Stage[QuantizeFacts] | None,
) -> Stage[EvaluateFacts]:
    """Quality and fidelity of the ONNX files."""
    build = partial(
        evaluate, data, exported, quantized, config.evaluate, task=TASK, seed=config.seed
    )
    settings = {"evaluate": config.evaluate, "seed": config.seed}
    inputs = [data, exported, *([quantized] if quantized else [])]
    return store.ensure("evaluate", build, EvaluateFacts, settings=settings, inputs=inputs)


@task(name="benchmark", cache_policy=NO_CACHE, persist_result=False)
def benchmark_stage(
    store: Store,
    config: RunConfig,
    data: Stage[DataFacts],
    teacher: Stage[TeacherFacts],
    exported: Stage[ExportFacts],
    quantized: Stage[QuantizeFacts] | None,
    backbone: Checkpoint,
) -> Stage[BenchmarkFacts]:
    """Latency of the ONNX files on this machine, and whether the overhead is gone."""
    length = config.data.max_length
    build = partial(
        benchmark,
        data,
        exported,
        quantized,
        TorchTeacher(folder=teacher.folder, backbone=backbone.folder),
        config.benchmark,
        max_length=length,
        seed=config.seed,
    )
    settings = {
        "benchmark": config.benchmark,
        "max_length": length,
        "seed": config.seed,
        "machine": describe_machine(),
    }
    inputs = [data, teacher, exported, *([quantized] if quantized else [])]
    return store.ensure("benchmark", build, BenchmarkFacts, settings=settings, inputs=inputs)


def common_settings(config: RunConfig, checkpoint: Checkpoint) -> dict[str, object]:
    """Return what every stage with a model depends on."""
    return {
        "model": checkpoint.digest,
        "max_length": config.data.max_length,
        "seed": config.seed,
    }
