"""From measured cells to the verdict on the adapters' overhead."""

from collections.abc import Mapping, Sequence
from dataclasses import fields

from pipeline.config import BenchmarkConfig
from pipeline.decisions.overhead import CellLogs, decide_overhead
from pipeline.facts.arms import Arm, a_a_arm
from pipeline.facts.latency import Graph
from pipeline.facts.overhead import Rules, Structure, Verdict
from pipeline.timing.cells import MeasuredCell
from pipeline.timing.plan import MeasurementPlan


def decide_measured(
    plan: MeasurementPlan,
    graphs: Mapping[Arm, Graph],
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
            a_a_arm=cell.log_ratios(a_a_arm(plain), plain),
            teacher=cell.log_ratios(teacher, plain),
            student=cell.log_ratios(student, plain),
        )
        for cell in cells
        if student in cell.arms
    ]
    rules = Rules(**{field.name: getattr(config, field.name) for field in fields(Rules)})
    return decide_overhead(structure, logs, rules)
