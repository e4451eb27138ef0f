"""Stage evaluate: quality and fidelity of the ONNX files on the test split, with intervals.

The ONNX files are measured and not the torch models, because the files ship. All models
see the same resamples of the test texts, so that the interval of a difference is paired.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.config import EvaluateConfig
from pipeline.facts.data import DataFacts
from pipeline.facts.export import ExportFacts
from pipeline.facts.quality import EvaluateFacts
from pipeline.facts.variants import QuantizeFacts
from pipeline.inference.classifier import load_bundle
from pipeline.statistics.bootstrap import measure_statistic, resamples
from pipeline.statistics.class_quality import measure_classes
from pipeline.store.stage import Stage
from pipeline.tasks.task import Metrics, Task
from pipeline.texts.tables import read_split

ARMS = ("plain", "teacher", "student")
"""The fourth, ``student_fp32``, is measured where the student ships as something else."""


def evaluate(
    data: Stage[DataFacts],
    exported: Stage[ExportFacts],
    quantized: Stage[QuantizeFacts] | None,
    config: EvaluateConfig,
    out: Path,
    *,
    task: Task,
    seed: int,
) -> EvaluateFacts:
    """Measure the bundles on the test split; write their logits to ``out``.

    The student is the file that ships: the winner of ``quantized``, where that stage ran.
    """
    test = read_split(data.folder, "test")
    bundles = {arm: exported.folder / arm for arm in ARMS}
    if quantized is not None:
        bundles |= {"student": quantized.folder / "student", "student_fp32": bundles["student"]}
    logits = {
        arm: load_bundle(bundle).logits(
            test.texts, batch_size=config.batch_size, title=f"evaluating {arm.replace('_', ' ')}"
        )
        for arm, bundle in bundles.items()
    }
    np.savez_compressed(out / "logits.npz", allow_pickle=False, labels=test.labels, **logits)
    samples = resamples(len(test), config.bootstrap_samples, seed)

    def quality(arm: str) -> Callable[[np.ndarray], Metrics]:
        return lambda rows: task.metrics(logits[arm][rows], test.labels[rows])

    def fidelity(arm: str) -> Callable[[np.ndarray], Metrics]:
        return lambda rows: task.fidelity(logits[arm][rows], logits["teacher"][rows])

    def change(rows: np.ndarray) -> Metrics:
        student, teacher = quality("student")(rows), quality("teacher")(rows)
        return {name: student[name] - teacher[name] for name in student}

    return EvaluateFacts(
        texts=len(test),
        confidence=config.confidence,
        **{arm: measure_statistic(quality(arm), samples, config.confidence) for arm in logits},
        fidelity=measure_statistic(fidelity("student"), samples, config.confidence),
        fidelity_fp32=(
            measure_statistic(fidelity("student_fp32"), samples, config.confidence)
            if quantized
            else None
        ),
        change=measure_statistic(change, samples, config.confidence),
        classes=measure_classes(
            logits["teacher"],
            logits["student"],
            test.labels,
            data.facts.labels,
            task=task,
            confidence=config.confidence,
        ),
    )
