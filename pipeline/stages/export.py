"""Stage export: backbone, teacher and student as ONNX, by one recipe, proven equal to torch.

pipeline/graphs/trace.py writes and compares the graphs.
"""

import contextlib
import json
import multiprocessing
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tqdm.auto import tqdm
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from pipeline.checkpoints.compute import place
from pipeline.checkpoints.context import ModelContext
from pipeline.checkpoints.pretrained import Checkpoint, count_layers
from pipeline.checkpoints.teachers import load_teacher
from pipeline.checkpoints.tokenizers import load_tokenizer, save_tokenizer
from pipeline.checkpoints.weights import load_model
from pipeline.config import ExportConfig
from pipeline.facts.arms import EXPORTED, PLAIN, STUDENT, TEACHER, Arm
from pipeline.facts.data import DataFacts
from pipeline.facts.export import ExportFacts, Parity
from pipeline.facts.training import StudentFacts, TeacherFacts
from pipeline.graphs.decoder import write_decoder
from pipeline.graphs.genai import write_genai_config
from pipeline.graphs.trace import Traced, write_graph
from pipeline.inference.classifier import MODEL, load_bundle
from pipeline.inference.thresholds import write_thresholds
from pipeline.store.stage import RECORD, Stage
from pipeline.tasks.all_tasks import TASK_KEY
from pipeline.texts.tables import read_split
from pipeline.workers.bars import hides_bars

_LAYERS_WORTH_A_PROCESS = 4
"""Fewest layers for tracing the teacher in a second process. Tracing is pure Python on one core.
From so many layers on, it takes longer than a process takes to start."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportSettings:
    """Settings that shape the ONNX files, beside the models."""

    context: ModelContext
    export: ExportConfig


def export(
    data: Stage[DataFacts],
    head_only: Stage[TeacherFacts],
    teacher: Stage[TeacherFacts],
    student: Stage[StudentFacts],
    settings: ExportSettings,
    out: Path,
) -> ExportFacts:
    """Write a bundle each for ``plain`` backbone, ``teacher`` and ``student`` to ``out``.

    A bundle is ``config.json``, the tokenizer and ``onnx/model.onnx``. The student's bundle also
    has its transformers weights, so that other tools load it in torch or in ONNX.

    Raises:
        InputError: when a graph differs from torch by more than the tolerance.
    """
    shutil.copytree(
        student.folder, out / STUDENT, dirs_exist_ok=True, ignore=shutil.ignore_patterns(RECORD)
    )
    context = settings.context
    weights = Checkpoint(folder=student.folder, digest=student.digest)
    loaders: dict[Arm, Callable[[], PreTrainedModel]] = {
        PLAIN: partial(load_teacher, context.backbone, head_only.folder),
        TEACHER: partial(load_teacher, context.backbone, teacher.folder),
        STUDENT: partial(load_model, weights, context.task.objective(), labels=data.facts.labels),
    }
    jobs = {
        arm: partial(_export_one, arm, load, out / arm, settings) for arm, load in loaders.items()
    }
    parity: list[Parity] = []
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(
            tqdm(total=len(jobs), desc="exporting", leave=False, disable=hides_bars())
        )
        waiting = None
        if count_layers(context.backbone) >= _LAYERS_WORTH_A_PROCESS:
            waiting = stack.enter_context(_second_process()).submit(jobs.pop(TEACHER))
        for job in jobs.values():
            parity += job()
            bar.update()
        if waiting is not None:
            parity += waiting.result()
            bar.update()
    _name_task(context, out)
    _write_thresholds(data, context, out)
    return ExportFacts(opset=settings.export.opset, parity=tuple(parity))


def _name_task(context: ModelContext, out: Path) -> None:
    """Write the task into the config of each bundle, for readers of the bundle."""
    for arm in EXPORTED:
        path = out / arm / "config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        named = {**config, TASK_KEY: context.task.name}
        path.write_text(json.dumps(named, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _write_thresholds(data: Stage[DataFacts], context: ModelContext, out: Path) -> None:
    """Write the thresholds of each bundle's outputs, if the task has some.

    A model's own outputs on the validation split choose them. A student has its teacher's
    thresholds, because it should answer like the teacher.
    """
    task = context.task
    if task.thresholds is None:
        return
    validation = read_split(data.folder, "validation")
    truth = task.truth(validation.texts, validation.labels)
    names = task.thresholds.names(data.facts.labels)
    for arm, shared_by in ((PLAIN, (PLAIN,)), (TEACHER, (TEACHER, STUDENT))):
        outputs = load_bundle(out / arm).data_outputs(validation.texts)
        thresholds = task.thresholds.choose(outputs, truth)
        for bundle in shared_by:
            write_thresholds(out / bundle, names, thresholds)


@contextlib.contextmanager
def _second_process() -> Iterator[ProcessPoolExecutor]:
    """Lend a fresh process; its waiting work is dropped if the borrower fails."""
    pool = ProcessPoolExecutor(
        1,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_set_up_process,
        initargs=(transformers_logging.is_progress_bar_enabled(),),
    )
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _set_up_process(progress_bars: bool) -> None:
    if not progress_bars:
        transformers_logging.disable_progress_bar()


def _export_one(
    arm: Arm, load: Callable[[], PreTrainedModel], bundle: Path, settings: ExportSettings
) -> list[Parity]:
    """Write a model's bundle and return its parity; the student's lacks only its graph."""
    context = settings.context
    model = place(load(), context.compute)
    model.config.architectures = [type(model).__name__]  # from which readers infer a bundle's task
    if arm != STUDENT:
        model.config.save_pretrained(bundle)
        tokenizer = load_tokenizer(context.backbone, max_length=context.max_length)
        save_tokenizer(tokenizer, bundle)
    traced = Traced(
        model=model,
        name=arm,
        output_names=context.task.objective().output_names,
        max_length=context.max_length,
    )
    if not context.task.continues:
        return write_graph(traced, bundle / MODEL, settings.export)
    write_genai_config(bundle, Path(MODEL).name)
    return write_decoder(traced, bundle / MODEL, settings.export)
