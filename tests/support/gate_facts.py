"""Facts that a gate decides on, with defaults that pass, and its decision on them."""

import math

import numpy as np

from pipeline.config import GateConfig
from pipeline.decisions.gate import decide
from pipeline.decisions.overhead import CellLogs, decide_overhead
from pipeline.facts.benchmark import BenchmarkFacts, Latency
from pipeline.facts.latency import Conditions, Estimate, Graph, Rung
from pipeline.facts.overhead import Rules, Structure
from pipeline.facts.quality import ClassQuality, EvaluateFacts, Measured
from pipeline.tasks.classification import CLASSIFICATION

CONFIG = GateConfig(max_metric_drop=0.01, min_agreement=0.95, max_latency_ratio=1.05)

RULES = Rules(
    confidence=0.95, max_half_width=0.01, min_margin=0.01, max_margin=0.02, min_removed=0.75
)


def measured(half=0.01, **values):
    intervals = {name: (value - half, value + half) for name, value in values.items()}
    return Measured(values=values, intervals=intervals)


def class_quality(lost=0.0, interval=(-0.05, 0.05), *, label="negative", texts=400):
    return ClassQuality(
        label=label,
        texts=texts,
        teacher_recall=0.9,
        student_recall=0.9 - lost,
        teacher_f1=0.9,
        student_f1=0.9 - lost,
        recall_lost=lost,
        interval=interval,
    )


def graph(size_bytes):
    return Graph(
        hash="h",
        sha256="s",
        size_bytes=size_bytes,
        operators={},
        parameters=0,
        multiply_adds=None,
        adapter_traces=(),
    )


def evaluation(*, change=0.0, agreement=1.0, calibration=0.0, classes=None, gain=0.2):
    return EvaluateFacts(
        texts=800,
        confidence=0.95,
        plain=measured(accuracy=0.7),
        teacher=measured(accuracy=0.9),
        student=measured(accuracy=0.9 + change),
        fidelity=measured(agreement=agreement),
        change=measured(accuracy=change, macro_f1=-0.5, calibration_error=calibration),
        classes=classes or (class_quality(),),
        gains={"plain": measured(accuracy=gain), "constant": measured(accuracy=0.4)},
    )


def evaluation_of_numbers(*, change=0.0, correlation=1.0, growth=0.0, teacher_rmse=0.5, gain=0.5):
    """Return facts of a regression; growth is the student's RMSE minus the teacher's."""
    return EvaluateFacts(
        texts=800,
        confidence=0.95,
        plain=measured(pearson=0.3, rmse=2.0),
        teacher=measured(pearson=0.8, rmse=teacher_rmse),
        student=measured(pearson=0.8 + change, rmse=teacher_rmse + growth),
        fidelity=measured(teacher_correlation=correlation),
        change=measured(pearson=change, spearman=-0.5, rmse=growth),
        classes=(),
        gains={"plain": measured(pearson=0.5), "constant": measured(pearson=gain)},
    )


def latency(ci_low=0.9, *, arm="student", batch=1, length=16):
    return Latency(
        arm=arm,
        batch=batch,
        length=length,
        median_ms=1.0,
        p95_ms=1.0,
        p99_ms=1.0,
        ratio_to_plain=ci_low + 0.1,
        ci_low=ci_low,
        ci_high=ci_low + 0.2,
    )


def rung(arm, low, high):
    mean = Estimate(value=(low + high) / 2, low=low, high=high)
    return Rung(
        arm=arm,
        runtime="onnxruntime",
        mean_ms=mean,
        p50_ms=mean.value,
        p95_ms=mean.value,
        p99_ms=mean.value,
        faster_than_torch=None,
        faster_than_teacher=None,
        cpu_faster_than_torch=None,
        cpu_faster_than_teacher=None,
    )


def benchmark(
    *entries,
    student=1.0,
    noise=1e-4,
    spread=(-1, 0, 1, 0),
    size_bytes=90_000_000,
    ladder=(),
):
    """Return facts in which the student takes this multiple of the plain backbone's time."""
    structure = Structure(
        student_is_plain=True, student_is_teacher=False, teacher_is_plain=False, adapter_traces=()
    )
    steps = noise * np.array(spread)
    logs = {"a_a_arm": 0.0, "teacher": math.log(1.07), "student": math.log(student)}
    cell = CellLogs(name="batch 1, 16 tokens", **{arm: log + steps for arm, log in logs.items()})
    return BenchmarkFacts(
        blocks=8,
        confidence=0.95,
        verdict=decide_overhead(structure, [cell], RULES),
        graphs={"teacher": graph(100_000_000), "student int8": graph(size_bytes)},
        latency=entries or (latency(),),
        ladder=ladder,
        costs={},
        machine={},
        conditions=Conditions(load_before=0, load_after=0, steal=0, busy=0, involuntary_switches=0),
    )


def decision(evaluated=None, *entries, config=CONFIG, task=CLASSIFICATION, **measured):
    evaluated = evaluated or evaluation()
    return decide(
        task.checks(evaluated, config),
        benchmark(*entries or (latency(),), **measured),
        config,
        warnings=task.warnings(evaluated, config),
        shipped_arm="student int8",
    )


def find(found, name):
    (check,) = [check for check in found.checks if name in check.name]
    return check
