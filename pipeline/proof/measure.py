"""Measuring ONNX files against one another: structure, paired cells, ladder, costs, verdict.

One plan in, one measurement out, for the stage of the chain and for the command line alike.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tqdm.auto import tqdm

from pipeline.config import BenchmarkConfig
from pipeline.proof.cells import MeasuredCell, again, in_groups, measure_cell
from pipeline.proof.ladder import TorchTeacher, measure_ladder
from pipeline.proof.machine import ConditionsMeter, describe_machine
from pipeline.proof.measurement import Measurement
from pipeline.proof.records import FileCost, Graph, Rules, Structure, Verdict
from pipeline.proof.structure import describe_graph
from pipeline.proof.time_file import FileSpec
from pipeline.proof.verdict import CellLogs, decide_overhead
from pipeline.proof.workers import run_file_cost
from pipeline.proof.workload import Workload


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is to be measured."""

    files: Mapping[str, Path]
    """ONNX file by arm."""
    candidate: str
    baseline: str
    teacher: str | None
    """The adapter teacher's arm; without it there is no verdict."""
    others: tuple[str, ...]
    """Further arms of the cells."""
    workloads: Sequence[Workload]
    """The cells."""
    texts: Workload
    """Single texts, for the ladder and the costs."""
    torch_teacher: TorchTeacher | None

    def groups(self) -> Iterator[tuple[str, ...]]:
        """Yield the arms that are measured together, the baseline first."""
        wanted = [self.candidate, *([self.teacher] if self.teacher else []), *self.others]
        rest = [arm for arm in dict.fromkeys(wanted) if arm != self.baseline]
        for group in list(in_groups(rest)) or [()]:
            yield (self.baseline, *(arm for arm in self.files if arm in group))


def measure(plan: Plan, config: BenchmarkConfig, *, seed: int) -> Measurement:
    """Return everything that was seen of the plan's files.

    Raises:
        InputError: when a file is no ONNX text classifier.
        RuntimeError: when a measuring process fails, with what it said.
    """
    meter = ConditionsMeter()
    graphs = {arm: describe_graph(path) for arm, path in plan.files.items()}
    groups = list(plan.groups())
    steps = len(plan.workloads) * len(groups) + 1 + len(plan.files)
    cells = []
    with tqdm(total=steps, desc="benchmark", unit="step", leave=False, disable=None) as bar:
        tell: Callable[[str], None] = bar.set_postfix_str
        for workload in plan.workloads:
            for group in groups:
                files = {arm: plan.files[arm] for arm in group}
                cell = measure_cell(files, plan.baseline, workload, config, seed=seed, tell=tell)
                cells.append(cell)
                bar.update()
        ladder = (
            measure_ladder(plan.files, plan.torch_teacher, plan.texts, config, seed=seed, tell=tell)
            if config.has_ladder
            else ()
        )
        bar.update()
        costs = {}
        for arm, path in plan.files.items():
            tell(f"{arm}: all cores")
            costs[arm] = _cost(path, plan.texts, config)
            bar.update()
    return Measurement(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=describe_machine(),
        conditions=meter.read(),
        candidate=plan.candidate,
        baseline=plan.baseline,
        teacher=plan.teacher,
        graphs=graphs,
        costs=costs,
        cells=tuple(cells),
        ladder=ladder,
        ladder_calls=len(plan.texts.calls),
        verdict=decide_measured(plan, graphs, cells, config),
    )


def decide_measured(
    plan: Plan,
    graphs: Mapping[str, Graph],
    cells: Sequence[MeasuredCell],
    config: BenchmarkConfig,
) -> Verdict | None:
    """Return the verdict on the candidate; None where no adapter teacher stands beside it."""
    if plan.teacher is None or plan.candidate == plan.baseline:
        return None
    plain, teacher, student = plan.baseline, plan.teacher, plan.candidate
    traces = set(graphs[student].adapter_traces) - set(graphs[plain].adapter_traces)
    structure = Structure(
        student_is_plain=graphs[student].hash == graphs[plain].hash,
        student_is_teacher=graphs[student].hash == graphs[teacher].hash,
        teacher_is_plain=graphs[teacher].hash == graphs[plain].hash,
        adapter_traces=tuple(sorted(traces)),
    )
    logs = [
        CellLogs(
            name=cell.name,
            again=cell.log_ratios(again(plain), plain),
            teacher=cell.log_ratios(teacher, plain),
            student=cell.log_ratios(student, plain),
        )
        for cell in cells
        if student in cell.arms
    ]
    rules = Rules(
        confidence=config.confidence,
        max_half_width=config.max_half_width,
        min_margin=config.min_margin,
        max_margin=config.max_margin,
        min_removed=config.min_removed,
    )
    return decide_overhead(structure, logs, rules)


def _cost(path: Path, texts: Workload, config: BenchmarkConfig) -> FileCost:
    longest = max((call[0] for call in texts.calls), key=len)
    return run_file_cost(
        FileSpec(
            file=str(path),
            single=texts.calls,
            batch=[longest] * config.throughput_batch,
            seconds=config.seconds_per_file,
        )
    )
