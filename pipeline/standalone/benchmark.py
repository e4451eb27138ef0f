"""Benchmark without the chain: any ONNX text classifiers, the first against the others."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.config import BenchmarkConfig
from pipeline.errors import InputError
from pipeline.facts.arms import Arm
from pipeline.graphs.structure import has_cache, load_graph, vocabulary_size
from pipeline.inference.classifier import MODEL
from pipeline.texts.tables import Text
from pipeline.timing.measure import measure
from pipeline.timing.measurement import Measurement
from pipeline.timing.plan import MeasurementPlan
from pipeline.timing.torch_teacher import TorchTeacher
from pipeline.timing.workload import (
    Workload,
    decode_steps,
    fixed_shapes,
    own_lengths,
    tokenizer_limit,
)


def benchmark_alone(
    models: Sequence[Path],
    config: BenchmarkConfig,
    *,
    against: Path | None = None,
    teacher: Path | None = None,
    torch_teacher: Path | None = None,
    texts: Sequence[Text] = (),
    seed: int = 0,
) -> Measurement:
    """Measure models against one another.

    Args:
        models: ONNX files or folders with one; the first is the candidate.
        against: The baseline, the plain backbone; by default the second model, or, where there is
            one only, that one.
        teacher: The adapter teacher; with it there is a verdict on the candidate.
        torch_teacher: Folder of the same teacher, for the ladder.
        texts: Texts whose lengths make one more cell.

    Raises:
        InputError: when a model cannot be measured.
    """
    baseline = against or (models[1] if len(models) > 1 else models[0])
    wanted = list(dict.fromkeys([*models, baseline, *([teacher] if teacher else [])]))
    paths = {model: find_onnx_file(model) for model in wanted}
    names = _names(wanted)
    vocabulary = min(_vocabulary(path) for path in paths.values())
    workloads = _workloads(list(paths.values()), config, vocabulary, seed)
    singles = _singles(config, vocabulary, seed)
    if texts:
        bundle = _bundle(paths[models[0]])
        singles = own_lengths(
            bundle,
            texts,
            count=config.own_lengths,
            max_length=tokenizer_limit(bundle),
            vocabulary=vocabulary,
        )
        workloads.append(singles)
    if torch_teacher is not None and not (torch_teacher / "teacher.json").is_file():
        raise InputError(
            f"{torch_teacher} is not a teacher: it has no teacher.json. Give the folder of a "
            "finetune stage, such as runs/latest/finetune, or of import-adapter."
        )
    plan = MeasurementPlan(
        files={names[model]: path for model, path in paths.items()},
        candidate=names[models[0]],
        baseline=names[baseline],
        teacher=names[teacher] if teacher else None,
        others=tuple(names[model] for model in models[1:]),
        workloads=workloads,
        texts=singles,
        torch_teacher=TorchTeacher(folder=torch_teacher) if torch_teacher else None,
    )
    try:
        return measure(plan, config, seed=seed)
    except RuntimeError as error:
        last = str(error).strip().splitlines()[-1]
        raise InputError(f"A model cannot be run: {last}") from error


def find_onnx_file(path: Path) -> Path:
    """Return the ONNX file behind a path: itself, or the default file of a bundle.

    Raises:
        InputError: when there is none.
    """
    if not path.is_dir():
        return path  # whether it is there, and is ONNX, is told when it is read
    found = [path / name for name in (MODEL, "model.onnx") if (path / name).is_file()]
    if not found:
        raise InputError(f"{path} holds neither {MODEL} nor model.onnx. Give an ONNX file.")
    return found[0]


def _names(models: Sequence[Path]) -> dict[Path, Arm]:
    """Return what each model is called: the last part of its path that tells it from others."""
    for parts in range(1, 1 + max(len(model.parts) for model in models)):
        names = {model: Arm("/".join(model.parts[-parts:])) for model in models}
        if len(set(names.values())) == len(models):
            return names
    return {model: Arm(str(model)) for model in models}


def _workloads(
    paths: Sequence[Path], config: BenchmarkConfig, vocabulary: int, seed: int
) -> list[Workload]:
    """Return the cells of fixed shapes, and single steps where all files have a cache."""
    sizes = config.batch_sizes
    found = fixed_shapes(sizes, config.lengths, vocabulary=vocabulary, seed=seed)
    if all(has_cache(load_graph(path)) for path in paths):
        found += decode_steps(sizes, config.past_lengths, vocabulary=vocabulary, seed=seed)
    return found


def _vocabulary(path: Path) -> int:
    size = vocabulary_size(load_graph(path))
    if size is None:
        raise InputError(
            f"{path} does not look up input_ids in a table of its own, so its valid ids are "
            "unknown. Give a model whose embeddings are in the graph."
        )
    return size


def _bundle(path: Path) -> Path:
    """Return the folder with the tokenizer of an ONNX file."""
    for folder in (path.parent, path.parent.parent):
        if (folder / "tokenizer.json").is_file() and (folder / "tokenizer_config.json").is_file():
            return folder
    raise InputError(
        f"{path} has no tokenizer.json and tokenizer_config.json beside it or above it, and texts "
        "need a tokenizer. Give a bundle, or leave --texts out."
    )


def _singles(config: BenchmarkConfig, vocabulary: int, seed: int) -> Workload:
    """Return a call with one text for every length."""
    shapes = fixed_shapes((1,), config.lengths, vocabulary=vocabulary, seed=seed)
    return Workload(batch=1, length=None, calls=[call for each in shapes for call in each.calls])
