"""Measuring ONNX files against one another: structure, paired cells, ladder, costs, verdict.

One plan in, one measurement out, for the stage of the chain and for the command line alike.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from pipeline.config import BenchmarkConfig
from pipeline.facts.latency import FileCost
from pipeline.graphs.structure import describe_graph
from pipeline.inference.providers import provider_names
from pipeline.timing.cells import MeasuredCell, measure_cell
from pipeline.timing.ladder import measure_ladder
from pipeline.timing.machine import ConditionsMeter, describe_machine
from pipeline.timing.measurement import Measurement
from pipeline.timing.plan import MeasurementPlan
from pipeline.timing.processes import run_file_cost
from pipeline.timing.time_file import FileSpec
from pipeline.timing.verdict import decide_measured
from pipeline.timing.workload import Workload
from pipeline.workers.bars import hides_bars


def measure(plan: MeasurementPlan, config: BenchmarkConfig, *, seed: int) -> Measurement:
    """Return everything that was seen of the plan's files.

    Raises:
        InputError: when a file is no ONNX text classifier.
        RuntimeError: when a measuring process fails, with what it said.
    """
    provider_names(config.provider)  # a missing one is refused before anything is timed
    meter = ConditionsMeter()
    graphs = {arm: describe_graph(path) for arm, path in plan.files.items()}
    steps = len(plan.workloads) * len(list(plan.groups())) + 1 + len(plan.files)
    with tqdm(total=steps, desc="benchmark", unit="step", leave=False, disable=hides_bars()) as bar:
        on_progress: Callable[[str], None] = bar.set_postfix_str
        cells = _measure_cells(plan, config, seed, bar)
        ladder = (
            measure_ladder(
                plan.files,
                plan.torch_teacher,
                plan.texts,
                config,
                seed=seed,
                on_progress=on_progress,
            )
            if config.has_ladder
            else ()
        )
        bar.update()
        costs = {}
        for arm, path in plan.files.items():
            on_progress(f"{arm}: all cores")
            costs[arm] = _cost(path, plan.texts, config)
            bar.update()
    return Measurement(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=describe_machine(),
        provider=config.provider,
        conditions=meter.read(),
        candidate=plan.candidate,
        baseline=plan.baseline,
        teacher=plan.teacher,
        graphs=graphs,
        costs=costs,
        cells=cells,
        ladder=ladder,
        ladder_calls=len(plan.texts.calls),
        verdict=decide_measured(plan, graphs, cells, config),
    )


def _measure_cells(
    plan: MeasurementPlan, config: BenchmarkConfig, seed: int, bar: "tqdm[Any]"
) -> tuple[MeasuredCell, ...]:
    """Return one cell per workload and group of files that a process bears."""
    cells = []
    for workload in plan.workloads:
        for group in plan.groups():
            files = {arm: plan.files[arm] for arm in group}
            show = bar.set_postfix_str
            cell = measure_cell(files, plan.baseline, workload, config, seed=seed, on_progress=show)
            cells.append(cell)
            bar.update()
    return tuple(cells)


def _cost(path: Path, texts: Workload, config: BenchmarkConfig) -> FileCost:
    longest = max((call[0] for call in texts.calls), key=len)
    return run_file_cost(
        FileSpec(
            file=str(path),
            single=texts.calls,
            batch=[longest] * config.throughput_batch,
            seconds=config.seconds_per_file,
            provider=config.provider,
        )
    )
