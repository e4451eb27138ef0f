"""Stage compare: ways to adapt one backbone, their quality, their size, and the cost of a call.

Every model is measured on the same test texts, with the same resamples, and exported by the same
recipe. A model with the plain backbone's graph, weights aside, runs at the backbone's speed. The
graph proves that, not a clock. The other models are timed against the backbone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.checkpoints.compute import place
from pipeline.checkpoints.context import ModelContext
from pipeline.checkpoints.tokenizers import load_tokenizer, save_tokenizer
from pipeline.config import BenchmarkConfig, EvaluateConfig, ExportConfig
from pipeline.facts.arms import Arm
from pipeline.facts.comparison import ComparedModel, ComparisonFacts
from pipeline.facts.data import DataFacts
from pipeline.facts.latency import Estimate
from pipeline.graphs.decoder import write_decoder
from pipeline.graphs.structure import describe_graph, load_graph, vocabulary_size
from pipeline.graphs.trace import Traced, write_graph
from pipeline.inference.classifier import MODEL
from pipeline.statistics.bootstrap import Resamples
from pipeline.statistics.intervals import estimate_ratio
from pipeline.store.stage import Stage
from pipeline.tasks.measuring import MeasuredModels
from pipeline.texts.tables import Split, read_split
from pipeline.timing.cells import in_groups, measure_cell
from pipeline.timing.workload import Workload, own_lengths
from pipeline.training.encoding import compute_outputs
from pipeline.training.rows import make_rows
from pipeline.workers.bars import hides_bars


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One model of a comparison."""

    name: Arm
    load: Callable[[], PreTrainedModel]
    """Function that returns the model in eval mode, from one of the comparison's stages."""
    trainable_parameters: int
    """Number of parameters that gradients updated for the model."""
    teacher: Arm | None = None
    """Name of the reference model, for a student or a merged model."""

    def key(self) -> list[str | None]:
        """Return the model's part of a stage's key, without its files, which the stages hold."""
        return [self.name, self.teacher]


@dataclass(frozen=True, kw_only=True, slots=True)
class CompareSettings:
    """Settings that shape a comparison, beside texts and trained models."""

    context: ModelContext
    candidates: tuple[Candidate, ...]
    """Models to compare; the first is the plain backbone with its head."""
    evaluate: EvaluateConfig
    export: ExportConfig
    benchmark: BenchmarkConfig
    machine: dict[str, str]


def compare_methods(
    data: Stage[DataFacts],
    _trained: tuple[Stage[Any], ...],
    settings: CompareSettings,
    out: Path,
) -> ComparisonFacts:
    """Measure all candidates, and write graphs and outputs to ``out``.

    Args:
        data: Splits on which the candidates are measured.
        _trained: Stages from which the candidates are loaded.
        settings: Candidates and settings of the measurement.
        out: Folder for graphs and outputs.

    Raises:
        InputError: when a graph differs from torch by more than the tolerance.
        RuntimeError: when a measuring process fails, with its message.
    """
    found = _run_all(data, settings, out)
    config = settings.evaluate
    hashes = {name: describe_graph(path).hash for name, path in found.files.items()}
    plain = settings.candidates[0].name
    timed = _time(found.files, hashes, plain, _workload(out, found, settings), settings)
    measured = MeasuredModels(
        task=settings.context.task,
        outputs=found.outputs,
        labels=settings.context.task.truth(found.test.texts, found.test.labels),
        samples=Resamples(
            texts=len(found.test), count=config.bootstrap_samples, seed=settings.context.seed
        ),
        confidence=config.confidence,
    )
    return ComparisonFacts(
        models=tuple(
            ComparedModel(
                name=each.name,
                teacher=each.teacher,
                trainable_parameters=each.trainable_parameters,
                total_parameters=found.parameters[each.name],
                quality=measured.quality(each.name),
                fidelity=(
                    None if each.teacher is None else measured.fidelity(each.name, each.teacher)
                ),
                is_plain_graph=hashes[each.name] == hashes[plain],
                latency=timed.get(each.name),
            )
            for each in settings.candidates
        ),
        confidence=config.confidence,
        machine=settings.machine,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Run:
    """Results of every candidate on the test split, and as a graph."""

    test: Split
    outputs: dict[Arm, np.ndarray]
    """Readings of the test split by model."""
    thresholds: dict[Arm, np.ndarray | None]
    """Thresholds by model, chosen on the validation split."""
    files: dict[Arm, Path]
    parameters: dict[Arm, int]


def _run_all(data: Stage[DataFacts], settings: CompareSettings, out: Path) -> _Run:
    context = settings.context
    tokenizer = load_tokenizer(context.backbone, max_length=context.max_length)
    compute = partial(_compute, tokenizer=tokenizer, context=context)
    test, validation = (read_split(data.folder, name) for name in ("test", "validation"))
    run = _Run(test=test, outputs={}, thresholds={}, files={}, parameters={})

    candidates = settings.candidates
    write = write_decoder if context.task.continues else write_graph
    with tqdm(candidates, desc="comparing", unit="model", leave=False, disable=hides_bars()) as bar:
        for candidate in bar:
            name = candidate.name
            bar.set_postfix_str(name)
            model = place(candidate.load(), context.compute)
            run.parameters[name] = sum(p.numel() for p in model.parameters())
            followed = candidate.teacher or name
            thresholds = run.thresholds.get(followed)
            if thresholds is None and context.task.thresholds is not None:
                truth = context.task.truth(validation.texts, validation.labels)
                thresholds = context.task.choose(compute(model, validation), truth)
            run.thresholds[name] = thresholds
            outputs = compute(model, test, teacher=run.outputs.get(followed))
            run.outputs[name] = context.task.readings(outputs, thresholds)
            run.files[name] = out / name.replace(" ", "-") / MODEL
            traced = Traced(
                model=model,
                name=name,
                output_names=context.task.objective().output_names,
                max_length=context.max_length,
            )
            write(traced, run.files[name], settings.export)
    save_tokenizer(tokenizer, out)
    np.savez_compressed(out / "outputs.npz", allow_pickle=False, labels=test.labels, **run.outputs)
    return run


def _compute(
    model: PreTrainedModel,
    split: Split,
    *,
    tokenizer: PreTrainedTokenizerBase,
    context: ModelContext,
    teacher: np.ndarray | None = None,
) -> np.ndarray:
    """Return a model's outputs on a split; a language model reads the teacher's words."""
    objective = context.task.objective()
    rows = make_rows(tokenizer, split.texts, context.task, max_length=context.max_length)
    wanted = None if teacher is None else rows.spread(teacher)
    return rows.read(compute_outputs(model, objective, tokenizer, rows.examples, teacher=wanted))


def _workload(bundle: Path, run: _Run, settings: CompareSettings) -> Workload:
    """Return single test texts that represent the lengths of all."""
    vocabularies = [vocabulary_size(load_graph(path)) for path in run.files.values()]
    return own_lengths(
        bundle,
        run.test.texts,
        count=settings.benchmark.own_lengths or 1,
        max_length=settings.context.max_length,
        vocabulary=min(size for size in vocabularies if size is not None),
    )


def _time(
    files: Mapping[Arm, Path],
    hashes: Mapping[Arm, str],
    plain: Arm,
    workload: Workload,
    settings: CompareSettings,
) -> dict[Arm, Estimate]:
    """Return the CPU time of a call relative to the plain backbone's, for each different graph.

    One model with the plain graph is timed too, because its difference is noise.
    """
    config, seed = settings.benchmark, settings.context.seed
    first = {hashes[name]: name for name in reversed(list(files)) if name != plain}
    wanted = [name for name in files if name in first.values()]
    found: dict[Arm, Estimate] = {}
    groups = list(in_groups(wanted))
    with tqdm(groups, desc="timing", unit="cell", leave=False, disable=hides_bars()) as bar:
        for some in bar:
            arms = {name: files[name] for name in (plain, *some)}
            cell = measure_cell(
                arms, plain, workload, config, seed=seed, on_progress=bar.set_postfix_str
            )
            for name in some:
                found[name] = estimate_ratio(cell.log_ratios(name, plain), config.confidence)
    shared = {name: found[first[hashes[name]]] for name in files if hashes[name] != hashes[plain]}
    return found | shared
