"""Stage compare: ways to adapt one backbone, their quality, their size, and what a call costs.

Every model is measured on the same test texts, with the same resamples, and exported by the same
recipe. What costs nothing at inference is told by the graph, not by a clock: a model whose graph is
the plain backbone's own, weights aside, runs at its speed. The others are timed against it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from pipeline.checkpoints.pretrained import Checkpoint, load_tokenizer
from pipeline.config import BenchmarkConfig, EvaluateConfig, ExportConfig
from pipeline.facts.comparison import ComparedModel, ComparisonFacts
from pipeline.facts.data import DataFacts
from pipeline.facts.latency import Estimate
from pipeline.facts.quality import Measured
from pipeline.graphs.structure import describe_graph, load_graph, vocabulary_size
from pipeline.graphs.trace import write_graph
from pipeline.inference.classifier import MODEL
from pipeline.statistics.bootstrap import measure_statistic, resamples
from pipeline.statistics.intervals import estimate_ratio
from pipeline.store.stage import Stage
from pipeline.tasks.task import Task
from pipeline.texts.tables import Split, read_split
from pipeline.timing.cells import in_groups, measure_cell
from pipeline.timing.machine import describe_machine
from pipeline.timing.workload import Workload, own_lengths
from pipeline.training.encoding import encode, predict_logits


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One model of a comparison."""

    name: str
    load: Callable[[], PreTrainedModel]
    """Returns it in eval mode."""
    trainable_parameters: int
    """That were trained for it."""
    teacher: str | None = None
    """Name of the candidate that it stands for."""


def compare_methods(
    data: Stage[DataFacts],
    checkpoint: Checkpoint,
    candidates: Sequence[Candidate],
    out: Path,
    *,
    task: Task,
    evaluate: EvaluateConfig,
    export: ExportConfig,
    benchmark: BenchmarkConfig,
    max_length: int,
    seed: int,
) -> ComparisonFacts:
    """Measure all candidates; the first is the plain backbone with its head.

    Args:
        checkpoint: The backbone, whose tokenizer all of them share.

    Graphs and logits are written to ``out``.

    Raises:
        InputError: when a graph differs from torch by more than the tolerance.
        RuntimeError: when a measuring process fails, with what it said.
    """
    tokenizer = load_tokenizer(checkpoint, max_length=max_length)
    test = read_split(data.folder, "test")
    examples = encode(tokenizer, test.texts, max_length=max_length)
    logits: dict[str, np.ndarray] = {}
    files: dict[str, Path] = {}
    sizes: dict[str, int] = {}
    with tqdm(candidates, desc="comparing", unit="model", leave=False, disable=None) as bar:
        for candidate in bar:
            bar.set_postfix_str(candidate.name)
            model = candidate.load()
            sizes[candidate.name] = sum(p.numel() for p in model.parameters())
            logits[candidate.name] = predict_logits(model, tokenizer, examples)
            files[candidate.name] = out / candidate.name.replace(" ", "-") / MODEL
            write_graph(
                model, files[candidate.name], export, max_length=max_length, name=candidate.name
            )
    tokenizer.save_pretrained(out)
    np.savez_compressed(out / "logits.npz", allow_pickle=False, labels=test.labels, **logits)
    hashes = {name: describe_graph(path).hash for name, path in files.items()}
    plain = candidates[0].name
    workload = _workload(out, files, test, benchmark, max_length)
    timed = _time(files, hashes, plain, workload, benchmark, seed)
    samples = resamples(len(test), evaluate.bootstrap_samples, seed)

    def quality(name: str) -> Measured:
        return measure_statistic(
            lambda rows: task.metrics(logits[name][rows], test.labels[rows]),
            samples,
            evaluate.confidence,
        )

    def fidelity(name: str, teacher: str) -> Measured:
        return measure_statistic(
            lambda rows: task.fidelity(logits[name][rows], logits[teacher][rows]),
            samples,
            evaluate.confidence,
        )

    return ComparisonFacts(
        models=tuple(
            ComparedModel(
                name=each.name,
                teacher=each.teacher,
                trainable_parameters=each.trainable_parameters,
                total_parameters=sizes[each.name],
                quality=quality(each.name),
                fidelity=None if each.teacher is None else fidelity(each.name, each.teacher),
                is_plain_graph=hashes[each.name] == hashes[plain],
                latency=timed.get(each.name),
            )
            for each in candidates
        ),
        confidence=evaluate.confidence,
        machine=describe_machine(),
    )


def _workload(
    bundle: Path, files: Mapping[str, Path], test: Split, config: BenchmarkConfig, max_length: int
) -> Workload:
    """Return single test texts that stand for the lengths of all."""
    vocabularies = [vocabulary_size(load_graph(path)) for path in files.values()]
    return own_lengths(
        bundle,
        test.texts,
        count=config.own_lengths or 1,
        max_length=max_length,
        vocabulary=min(size for size in vocabularies if size is not None),
    )


def _time(
    files: Mapping[str, Path],
    hashes: Mapping[str, str],
    plain: str,
    workload: Workload,
    config: BenchmarkConfig,
    seed: int,
) -> dict[str, Estimate]:
    """Return the CPU time of a call, as a ratio to the plain backbone's, of each graph of its own.

    One model of the plain graph is timed too: what it differs by is noise.
    """
    first = {hashes[name]: name for name in reversed(list(files)) if name != plain}
    wanted = [name for name in files if name in first.values()]
    found: dict[str, Estimate] = {}
    groups = list(in_groups(wanted))
    with tqdm(groups, desc="timing", unit="cell", leave=False, disable=None) as bar:
        for some in bar:
            arms = {name: files[name] for name in (plain, *some)}
            cell = measure_cell(arms, plain, workload, config, seed=seed, tell=bar.set_postfix_str)
            for name in some:
                found[name] = estimate_ratio(cell.log_ratios(name, plain), config.confidence)
    shared = {name: found[first[hashes[name]]] for name in files if hashes[name] != hashes[plain]}
    return found | shared
