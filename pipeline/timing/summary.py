"""Statistics of a measurement: medians, tails and paired ratios of its raw times."""

import numpy as np

from pipeline.facts.arms import Arm
from pipeline.facts.benchmark import BenchmarkFacts, Latency
from pipeline.statistics.intervals import estimate_ratio
from pipeline.timing.cells import MeasuredCell
from pipeline.timing.ladder import describe_rungs
from pipeline.timing.measurement import Measurement


def describe_measurement(measurement: Measurement, confidence: float) -> BenchmarkFacts:
    """Return what a measurement found: statistics of its raw times."""
    blocks, calls = measurement.ladder, measurement.ladder_calls
    return BenchmarkFacts(
        blocks=min(len(cell.blocks) for cell in measurement.cells),
        confidence=confidence,
        verdict=measurement.verdict,
        graphs=measurement.graphs,
        latency=tuple(
            row
            for cell in measurement.cells
            for row in _latencies(cell, measurement.baseline, confidence)
        ),
        ladder=describe_rungs(blocks, calls, confidence, teacher=measurement.teacher),
        costs=measurement.costs,
        machine=measurement.machine,
        conditions=measurement.conditions,
        provider=measurement.provider,
    )


def _latencies(cell: MeasuredCell, baseline: Arm, confidence: float) -> list[Latency]:
    rows = []
    for arm in cell.arms:
        ratio = estimate_ratio(cell.log_ratios(arm, baseline), confidence)
        median, p95, p99 = np.percentile(cell.wall_ms(arm), (50, 95, 99)).round(4).tolist()
        rows.append(
            Latency(
                arm=arm,
                batch=cell.batch,
                length=cell.length,
                past=cell.past,
                median_ms=median,
                p95_ms=p95,
                p99_ms=p99,
                ratio_to_plain=ratio.value,
                ci_low=ratio.low,
                ci_high=ratio.high,
            )
        )
    return rows
