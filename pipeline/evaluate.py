"""Stage evaluate: quality and fidelity of the ONNX files on the test split, with intervals.

The ONNX files are measured and not the torch models, because the files ship. Intervals are
percentile bootstraps over the test texts (Efron & Tibshirani, 1993, section 13.3); all models see
the same resamples, so that the interval of a difference is paired.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.artifacts import Stage
from pipeline.config import EvaluateConfig
from pipeline.inference import load_bundle
from pipeline.records import DataFacts, EvaluateFacts, ExportFacts, Measured
from pipeline.tables import read_split
from pipeline.task import Metrics, Task

ARMS = ("plain", "teacher", "student")


def evaluate(
    data: Stage[DataFacts],
    exported: Stage[ExportFacts],
    config: EvaluateConfig,
    out: Path,
    *,
    task: Task,
    seed: int,
) -> EvaluateFacts:
    """Measure the three bundles on the test split; write their logits to ``out``."""
    test = read_split(data.folder, "test")
    logits = {
        arm: load_bundle(exported.folder / arm).logits(
            test.texts, batch_size=config.batch_size, title=f"evaluating {arm}"
        )
        for arm in ARMS
    }
    np.savez_compressed(out / "logits.npz", allow_pickle=False, labels=test.labels, **logits)
    samples = _resamples(len(test), config.bootstrap_samples, seed)

    def quality(arm: str) -> Callable[[np.ndarray], Metrics]:
        return lambda rows: task.metrics(logits[arm][rows], test.labels[rows])

    def fidelity(rows: np.ndarray) -> Metrics:
        return task.fidelity(logits["student"][rows], logits["teacher"][rows])

    def change(rows: np.ndarray) -> Metrics:
        student, teacher = quality("student")(rows), quality("teacher")(rows)
        return {name: student[name] - teacher[name] for name in student}

    return EvaluateFacts(
        texts=len(test),
        confidence=config.confidence,
        **{arm: _measure(quality(arm), samples, config.confidence) for arm in ARMS},
        fidelity=_measure(fidelity, samples, config.confidence),
        change=_measure(change, samples, config.confidence),
    )


def _resamples(texts: int, count: int, seed: int) -> np.ndarray:
    """Return rows drawn with replacement, (count, texts)."""
    return np.random.default_rng(seed).integers(texts, size=(count, texts))


def _measure(
    statistic: Callable[[np.ndarray], Metrics], samples: np.ndarray, confidence: float
) -> Measured:
    """Return a statistic over all rows with its percentile intervals over the resamples."""
    values = statistic(np.arange(samples.shape[1]))
    draws = [statistic(rows) for rows in samples]
    tail = 50 * (1 - confidence)
    intervals = {}
    for name in values:
        low, high = np.percentile([draw[name] for draw in draws], [tail, 100 - tail])
        intervals[name] = (float(low), float(high))
    return Measured(values=values, intervals=intervals)
