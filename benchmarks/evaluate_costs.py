"""Cost of the intervals of `evaluate` beside its inference, and how often they hold.

    python -m benchmarks.evaluate_costs [costs] [inference] [coverage]

``costs``: CPU seconds of everything that `evaluate` computes from the outputs of four files, by
classes and texts. (These are three qualities and one more after quantisation, two
closenesses, two changes, all classes.) ``inference``: CPU seconds of these four files on the same
texts. They have MiniLM-L6's shape with random weights, and 16 tokens per text. ``coverage``: how
often 95 % intervals of macro-F1 hold two values. One is the mean over test splits of the same size.
The other is the macro-F1 of infinitely many texts.

Results go to docs/evaluate-costs.json, with the machine. Bar at 150 classes, 4,500 texts: inference
and statistics together take at most 1.3 times the inference. It was 1.01: 207 and 1.9 CPU seconds.
Coverage was not measured with it so far.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification

from pipeline.config import ExportConfig
from pipeline.facts.arms import PLAIN, STUDENT, STUDENT_FP32, TEACHER
from pipeline.facts.variants import Runtime
from pipeline.graphs.trace import Traced, write_graph
from pipeline.inference.session import open_file
from pipeline.statistics.bootstrap import Resamples, draw
from pipeline.statistics.class_quality import measure_classes
from pipeline.tasks.class_metrics import CLASS_QUALITY
from pipeline.tasks.classification import CLASSIFICATION
from pipeline.tasks.measuring import MeasuredModels
from pipeline.timing.machine import describe_machine

SIZES = ((2, 1_000), (150, 4_500), (1_000, 4_500), (2, 100_000), (150, 100_000), (1_000, 100_000))
RESAMPLES = 1_000
FILES = (PLAIN, TEACHER, STUDENT, STUDENT_FP32)
TOKENS, BATCH = 16, 32
SPLITS, RESAMPLES_OF_EACH = 300, 300
RESULT = Path(__file__).parents[1] / "docs" / "evaluate-costs.json"


def outputs_of(classes: int, texts: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return logits of every file, all near one another, and labels that they mostly find."""
    generator = np.random.default_rng(0)
    labels = generator.integers(classes, size=texts)
    found = {}
    shared = generator.normal(size=(texts, classes)).astype(np.float32)
    shared[np.arange(texts), labels] += 4
    for name in FILES:
        noise = generator.normal(scale=0.3, size=shared.shape).astype(np.float32)
        found[name] = shared + noise
    return found, labels


def measure_statistics(classes: int, texts: int) -> dict[str, float]:
    """Return CPU seconds of what `evaluate` computes, and the memory that it takes for it."""
    outputs, labels = outputs_of(classes, texts)
    before = _peak_mb()

    def everything() -> None:
        measured = MeasuredModels(
            task=CLASSIFICATION,
            outputs=outputs,
            labels=labels,
            samples=Resamples(texts=texts, count=RESAMPLES, seed=0),
            confidence=0.95,
        )
        for name in FILES:
            measured.quality(name)
        measured.fidelity(STUDENT, TEACHER)
        measured.fidelity(STUDENT_FP32, TEACHER)
        measured.change(STUDENT, TEACHER)
        measured.change(STUDENT, PLAIN)
        assert CLASSIFICATION.members is not None
        names = [f"class {number}" for number in range(classes)]
        found = CLASSIFICATION.members(outputs[TEACHER], outputs[STUDENT], labels, names)
        measure_classes(found.teacher, found.student, found.labels, names, confidence=0.95)

    seconds = _cpu_seconds(everything)
    return {"cpu_s": round(seconds, 2), "peak_mb_more": round(_peak_mb() - before)}


def measure_inference(classes: int, texts: int, folder: Path) -> float:
    """Return CPU seconds of so many texts through all files, in onnxruntime."""
    config = BertConfig(
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
        num_labels=classes,
    )
    torch.manual_seed(0)
    model = BertForSequenceClassification(config).eval()
    path = folder / "onnx" / "model.onnx"
    write_graph(
        Traced(model=model, name=PLAIN, output_names=("logits",), max_length=64),
        path,
        ExportConfig(),
    )
    session = open_file(Runtime(), path)
    ids = np.random.default_rng(0).integers(1000, 20000, size=(BATCH, TOKENS))
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    feeds["token_type_ids"] = np.zeros_like(ids)
    wanted = {each.name: feeds[each.name] for each in session.get_inputs()}
    session.run(None, wanted)

    def everything() -> None:
        for _ in range(len(FILES) * -(-texts // BATCH)):
            session.run(None, wanted)

    return round(_cpu_seconds(everything), 2)


def measure_coverage(classes: int, texts: int) -> dict[str, float]:
    """Return how often each kind of interval holds macro-F1 of a split, and of the population."""
    generator = np.random.default_rng(0)
    recalls = generator.beta(8, 1.5, size=classes)
    several = [_macro_f1(*_split(generator, recalls, texts)) for _ in range(1000)]
    mean, limit = float(np.mean(several)), _limit(recalls)
    hits = {name: np.zeros(2) for name in ("percentile", "centred", "basic")}
    for _ in range(SPLITS):
        labels, predicted = _split(generator, recalls, texts)
        samples = Resamples(
            texts=texts, count=RESAMPLES_OF_EACH, seed=int(generator.integers(2**31))
        )
        found = draw(CLASS_QUALITY, np.eye(classes, dtype=np.float32)[predicted], labels, samples)
        value = found.values["macro_f1"]
        low, high = np.percentile(found.draws["macro_f1"], [2.5, 97.5])
        ends = {
            "percentile": (low, high),
            "centred": found.measured(0.95).intervals["macro_f1"],
            "basic": (2 * value - high, 2 * value - low),
        }
        for name, (least, most) in ends.items():
            hits[name] += [least <= mean <= most, least <= limit <= most]
    return {
        "mean over splits": round(mean, 4),
        "infinitely many texts": round(limit, 4),
        **{f"{n} holds the mean": round(float(h[0] / SPLITS), 3) for n, h in hits.items()},
        **{f"{n} holds the limit": round(float(h[1] / SPLITS), 3) for n, h in hits.items()},
    }


def _split(
    generator: np.random.Generator, recalls: np.ndarray, texts: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw labels and predictions; a wrong one is any other class."""
    classes = len(recalls)
    labels = generator.integers(classes, size=texts)
    wrong = (labels + generator.integers(1, classes, size=texts)) % classes
    return labels, np.where(generator.random(texts) < recalls[labels], labels, wrong)


def _limit(recalls: np.ndarray) -> float:
    """Return macro-F1 of infinitely many texts: of the joint probabilities."""
    strangers = (1 - recalls) / (len(recalls) - 1)
    chosen = recalls + strangers.sum() - strangers  # of each class, times the classes
    return float((2 * recalls / (1 + chosen)).mean())


def _macro_f1(labels: np.ndarray, predicted: np.ndarray) -> float:
    correct = np.bincount(labels[labels == predicted], minlength=labels.max() + 1)
    counted = np.bincount(np.concatenate([labels, predicted]))
    occurs = counted > 0
    padded = np.zeros(len(counted))
    padded[: len(correct)] = correct
    return float((2 * padded[occurs] / counted[occurs]).mean())


def _cpu_seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(parts: list[str], folder: Path) -> None:
    """Measure the parts, print them, and write them beside those that were measured before."""
    result = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    result["machine"] = describe_machine()
    if "costs" in parts:
        result["statistics"] = {}
        for classes, texts in SIZES:
            found = measure_statistics(classes, texts)
            result["statistics"][f"{classes} classes, {texts} texts"] = found
            print(classes, texts, found, flush=True)
    if "inference" in parts:
        result["inference_cpu_s"] = {
            "150 classes, 4500 texts": measure_inference(150, 4500, folder)
        }
        print("inference", result["inference_cpu_s"], flush=True)
    if "coverage" in parts:
        result["coverage_of_macro_f1"] = {}
        for classes, texts in ((2, 200), (77, 1500), (150, 4500), (150, 600)):
            found = measure_coverage(classes, texts)
            result["coverage_of_macro_f1"][f"{classes} classes, {texts} texts"] = found
            print(classes, texts, found, flush=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        main(sys.argv[1:] or ["costs", "inference", "coverage"], Path(scratch))
