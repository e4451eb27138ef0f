"""Stage evaluate: quality and fidelity of the ONNX files on the test split, with intervals.

The ONNX files are measured and not the torch models, because the files ship. All models
see the same resamples of the test texts, so that the interval of a difference is paired.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.artifacts import Stage
from pipeline.bootstrap import measure_statistic, resamples
from pipeline.config import EvaluateConfig
from pipeline.inference import load_bundle
from pipeline.records import DataFacts, EvaluateFacts, ExportFacts
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
    samples = resamples(len(test), config.bootstrap_samples, seed)

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
        **{arm: measure_statistic(quality(arm), samples, config.confidence) for arm in ARMS},
        fidelity=measure_statistic(fidelity, samples, config.confidence),
        change=measure_statistic(change, samples, config.confidence),
    )
