"""What comes before a student: model and data, the baseline, and the teacher."""

from functools import partial
from pathlib import Path

from flows.stages.declaration import stage_task, with_model
from models.losses import SINGLE_LABEL as OBJECTIVE
from pipeline.checkpoints.adapter_folders import adapters_digest, check_source
from pipeline.checkpoints.pretrained import Checkpoint, find_checkpoint
from pipeline.checkpoints.teachers import TEACHER_TENSORS, read_teacher
from pipeline.config import AdapterConfig, AdapterSource, ModelConfig, RunConfig
from pipeline.facts.data import DataFacts
from pipeline.facts.training import TeacherFacts
from pipeline.stages.data import prepare_data
from pipeline.stages.finetune import finetune
from pipeline.stages.fuse import fuse
from pipeline.stages.head_only import head_only
from pipeline.stages.import_teacher import import_teacher
from pipeline.store.digests import sha256_file
from pipeline.store.stage import Stage
from pipeline.store.store import Store
from pipeline.tasks.classification import SINGLE_LABEL as TASK
from pipeline.texts.sources import fingerprint


@stage_task("find-model", reaches_out=True)
def find_model(config: ModelConfig) -> Checkpoint:
    """Return the local folder of a pretrained model."""
    return find_checkpoint(config)


@stage_task("find-adapters", reaches_out=True)
def find_adapters(source: AdapterSource) -> None:
    """Fetch the adapters that there are already; what is missing is told before any training."""
    check_source(source)


@stage_task("data", reaches_out=True)
def data_stage(store: Store, config: RunConfig) -> Stage[DataFacts]:
    """Texts, labels and splits."""
    named = (config.data.train, config.data.validation, config.data.test)
    sources = [source for source in named if source is not None]
    if config.data.splits_of is not None:
        sources += map(str, sorted(Path(config.data.splits_of).glob("*.parquet")))
    return store.ensure(
        "data",
        partial(prepare_data, config.data, seed=config.seed),
        DataFacts,
        settings={
            "data": config.data.model_dump(exclude={"max_length", "splits_of"}),
            "sources": [fingerprint(source) for source in sources],
            "seed": config.seed,
        },
    )


@stage_task("head-only")
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
    settings = with_model(config, backbone, training=config.head_only)
    return store.ensure("head-only", build, TeacherFacts, settings=settings, inputs=[data])


@stage_task("finetune")
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
    settings = with_model(config, backbone, training=config.finetune, adapter=adapter)
    if start is not None:
        read_teacher(start)  # a wrong folder is told before anything is trained
        settings["start"] = sha256_file(start / TEACHER_TENSORS)
    return store.ensure(
        "finetune", build, TeacherFacts, settings=settings, inputs=[data, head_only]
    )


@stage_task("import", reaches_out=True)
def import_stage(
    store: Store, config: RunConfig, data: Stage[DataFacts], backbone: Checkpoint
) -> Stage[TeacherFacts]:
    """The teacher, of adapters that there are already."""
    source = _source(config)
    build = partial(
        import_teacher,
        data,
        backbone,
        source,
        task=TASK,
        objective=OBJECTIVE,
        max_length=config.data.max_length,
    )
    settings = with_model(config, backbone, adapter=source, files=adapters_digest(source))
    return store.ensure("import", build, TeacherFacts, settings=settings, inputs=[data])


@stage_task("fuse", reaches_out=True)
def fuse_stage(
    store: Store,
    config: RunConfig,
    data: Stage[DataFacts],
    head_only: Stage[TeacherFacts],
    backbone: Checkpoint,
) -> Stage[TeacherFacts]:
    """The teacher, of adapters that there are already and learn to work together."""
    source = _source(config)
    build = partial(
        fuse,
        data,
        backbone,
        source,
        config.fuse,
        task=TASK,
        objective=OBJECTIVE,
        head_from=head_only,
        max_length=config.data.max_length,
        seed=config.seed,
    )
    settings = with_model(
        config, backbone, training=config.fuse, adapter=source, files=adapters_digest(source)
    )
    return store.ensure("fuse", build, TeacherFacts, settings=settings, inputs=[data, head_only])


def _source(config: RunConfig) -> AdapterSource:
    if not isinstance(config.teacher.adapter, AdapterSource):
        raise TypeError(f"expected an AdapterSource, found {config.teacher.adapter!r}")
    return config.teacher.adapter
