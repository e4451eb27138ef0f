"""The command `adapter-distill benchmark`: any ONNX files, or two measurements of them."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flows.cli.text_input import JSONL_HELP, PAIRS_HELP, read_texts
from pipeline.config.provider import Provider
from pipeline.errors import InputError

REMAINS, INCONCLUSIVE = 3, 4


def benchmark_command(
    models: Annotated[
        list[Path] | None,
        typer.Argument(help="ONNX files or bundles; the first is the candidate."),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(help="The baseline: the plain backbone. By default the second model."),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(help="ONNX file of the adapter teacher, needed for a verdict."),
    ] = None,
    torch: Annotated[
        Path | None,
        typer.Option(help="The teacher's folder (runs/latest/finetune), timed in PyTorch too."),
    ] = None,
    texts: Annotated[
        Path | None, typer.Option(help="Texts, one per line; their lengths make one more cell.")
    ] = None,
    pairs: Annotated[bool, typer.Option("--pairs", help=PAIRS_HELP)] = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", help=JSONL_HELP)] = False,
    batch: Annotated[str, typer.Option(help="Texts per call: 1,8.")] = "1",
    length: Annotated[str, typer.Option(help="Tokens per text: 16,64.")] = "16,64",
    seconds: Annotated[
        float,
        typer.Option(min=1, max=86400, help="Most seconds per cell; a quiet machine needs fewer."),
    ] = 60.0,
    provider: Annotated[
        Provider, typer.Option(help="Execution provider of onnxruntime; cpu always works.")
    ] = "cpu",
    out: Annotated[Path | None, typer.Option(help="JSON file for all measurements.")] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="A.json B.json", help="Compare two files that --out wrote."),
    ] = None,
) -> None:
    """Time ONNX text classifiers against one another, with the noise beside the result.

    With --teacher, exit code 3 means that the adapters' overhead remains, and 4 that noise left the
    verdict open.
    """
    if compare is not None:
        _compare(compare, models or [])
        return
    if not models:
        raise InputError("Give one or more ONNX files or bundles, or --compare A.json B.json.")
    from adapter_distill.bundles import measure_files
    from flows.cli.benchmark_tables import print_benchmark
    from pipeline.config import BenchmarkConfig
    from pipeline.timing.measurement import write_measurement
    from pipeline.timing.summary import describe_measurement

    config = BenchmarkConfig(
        batch_sizes=_numbers("--batch", batch),
        lengths=_numbers("--length", length),
        seconds_per_cell=seconds,
        provider=provider,
        seconds_per_file=min(2.0, seconds / 20),
    )
    if out is not None and not out.parent.is_dir():
        raise InputError(f"--out {out}: the folder {out.parent} does not exist. Create it.")
    measurement = measure_files(
        models,
        config,
        against=against,
        teacher=teacher,
        torch_teacher=torch,
        texts=read_texts([], texts, pairs=pairs, jsonl=jsonl) if texts else (),
    )
    facts = describe_measurement(measurement, config.confidence)
    console = Console()
    print_benchmark(facts, console if console.is_terminal else Console(width=130))
    if out is not None:
        write_measurement(measurement, out)
        console.print(f"measurement: {out}", markup=False, soft_wrap=True)
    outcome = facts.verdict.outcome if facts.verdict else "overhead_gone"
    codes = {"overhead_remains": REMAINS, "inconclusive": INCONCLUSIVE}
    raise typer.Exit(codes.get(outcome, 0))


def _compare(paths: tuple[Path, Path], models: list[Path]) -> None:
    from flows.cli.benchmark_tables import print_comparison
    from pipeline.timing.change import compare_measurements
    from pipeline.timing.measurement import read_measurement

    if models:
        raise InputError(f"--compare measures nothing, so leave {models[0]} out.")
    old, new = (read_measurement(path) for path in paths)
    console = Console()
    print_comparison(
        compare_measurements(old, new), console if console.is_terminal else Console(width=130)
    )


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        raise InputError(f"{option} expects numbers from 1 such as 16,64, found {text!r}.")
    return numbers
