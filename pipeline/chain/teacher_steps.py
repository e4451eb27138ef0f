"""The steps before a student: model and data, the baseline, and the teacher."""

from functools import partial
from pathlib import Path

from pipeline.chain.program import Lookup
from pipeline.checkpoints.adapter_folders import adapters_digest, check_source
from pipeline.checkpoints.compute import find_compute
from pipeline.checkpoints.context import ModelContext
from pipeline.checkpoints.pretrained import Checkpoint, find_checkpoint
from pipeline.checkpoints.teachers import TEACHER_TENSORS, read_teacher
from pipeline.config import AdapterConfig, AdapterSource, ModelConfig, RunConfig
from pipeline.facts.data import DataFacts, UnlabelledFacts
from pipeline.facts.training import TeacherFacts
from pipeline.stages.data import DataSettings, prepare_data
from pipeline.stages.finetune import FinetuneSettings, TeacherStart, finetune
from pipeline.stages.fuse import FuseSettings, fuse
from pipeline.stages.head_only import HeadOnlySettings, head_only
from pipeline.stages.import_teacher import ImportSettings, import_teacher
from pipeline.stages.unlabelled import UnlabelledSettings, collect_unlabelled
from pipeline.store.digests import sha256_file
from pipeline.store.stage import Stage
from pipeline.store.step import Step, step
from pipeline.tasks.all_tasks import find_task
from pipeline.texts.sources import fingerprint
from pipeline.texts.unlabelled import expand_sources


def find_model(config: ModelConfig) -> Lookup[Checkpoint]:
    """Return the lookup of a pretrained model."""
    return Lookup(name="find-model", find=partial(find_checkpoint, config))


def find_adapters(source: AdapterSource) -> Lookup[None]:
    """Return the lookup of existing adapters: missing ones are reported before any training."""
    return Lookup(name="find-adapters", find=partial(check_source, source))


def make_context(config: RunConfig, backbone: Checkpoint) -> ModelContext:
    """Return what every stage with this model is given."""
    return ModelContext(
        backbone=backbone,
        task=find_task(config.task),
        max_length=config.data.max_length,
        seed=config.seed,
        compute=find_compute(config.compute),
    )


def data_step(config: RunConfig) -> Step[DataFacts]:
    """Texts, labels and splits."""
    named = (config.data.train, config.data.validation, config.data.test)
    sources = [source for source in named if source is not None]
    if config.data.splits_of is not None:
        sources += map(str, sorted(Path(config.data.splits_of).glob("*.parquet")))
    settings = DataSettings(
        task=find_task(config.task),
        data=config.data.model_copy(update={"unlabelled": (), "unlabelled_size": None}),
        sources=tuple(map(fingerprint, sources)),
        seed=config.seed,
    )
    return step(
        "data",
        prepare_data,
        settings=settings,
        facts=DataFacts,
        reaches_out=True,
        said=DataFacts.said,
    )


def unlabelled_step(config: RunConfig, data: Stage[DataFacts]) -> Step[UnlabelledFacts]:
    """Further texts without labels."""
    sources = expand_sources(config.data.unlabelled)
    settings = UnlabelledSettings(
        sources=tuple(sources),
        digests=tuple(map(fingerprint, sources)),
        columns=config.data.text_columns,
        subset=config.data.subset,
        most=config.data.unlabelled_size,
    )
    return step(
        "unlabelled",
        collect_unlabelled,
        data,
        settings=settings,
        facts=UnlabelledFacts,
        reaches_out=True,
        said=UnlabelledFacts.said,
    )


def head_only_step(
    config: RunConfig, context: ModelContext, data: Stage[DataFacts]
) -> Step[TeacherFacts]:
    """The baseline: the frozen backbone with only its head."""
    settings = HeadOnlySettings(context=context, training=config.head_only)
    return step("head-only", head_only, data, settings=settings, facts=TeacherFacts)


def teacher_step(
    config: RunConfig,
    context: ModelContext,
    data: Stage[DataFacts],
    baseline: Stage[TeacherFacts],
) -> Step[TeacherFacts]:
    """The teacher: its adapters fine-tuned, imported, or fused, as ``teacher.adapter`` says."""
    adapter = config.teacher.adapter
    if isinstance(adapter, AdapterConfig):
        return _finetune_step(config, adapter, context, data, baseline)
    files = adapters_digest(adapter)
    if adapter.trained_as is None:
        return step(
            "import",
            import_teacher,
            data,
            settings=ImportSettings(context=context, source=adapter, files=files),
            facts=TeacherFacts,
            reaches_out=True,
        )
    fusing = FuseSettings(context=context, training=config.fuse, source=adapter, files=files)
    return step("fuse", fuse, data, baseline, settings=fusing, facts=TeacherFacts, reaches_out=True)


def _finetune_step(
    config: RunConfig,
    adapter: AdapterConfig,
    context: ModelContext,
    data: Stage[DataFacts],
    baseline: Stage[TeacherFacts],
) -> Step[TeacherFacts]:
    start = None
    if config.teacher.start is not None:
        folder = Path(config.teacher.start)
        read_teacher(folder)  # a wrong folder is reported before anything is trained
        start = TeacherStart(folder=folder, sha256=sha256_file(folder / TEACHER_TENSORS))
    settings = FinetuneSettings(
        context=context, training=config.finetune, adapter=adapter, start=start
    )
    return step("finetune", finetune, data, baseline, settings=settings, facts=TeacherFacts)
