"""Facts of a run's stages as JSON would give them, for reports and pages."""

from dataclasses import asdict

import numpy as np
from support.gate_facts import RULES

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
        "text_columns": ("text",),
        "labels": labels,
        "sizes": sizes,
        "label_counts": {split: dict.fromkeys(labels, size // 2) for split, size in sizes.items()},
        "dropped_duplicates": 3,
        "conflicting_labels": 1,
        "dropped_empty": 0,
    }


def measured(half: float = 0.0275, **values: float) -> dict:
    intervals = {name: (value - half, value + half) for name, value in values.items()}
    return {"values": values, "intervals": intervals}


def outcome(loss: float, **validation: list) -> dict:
    """Return a training of 125 steps, validated after its halves."""
    curve = [{"step": step, "train_loss": loss / (1 + step / 60)} for step in range(15, 125, 15)]
    curve += [
        {"step": step, "validation": {name: values[half] for name, values in validation.items()}}
        for half, step in enumerate((63, 125))
    ]
    return {
        "steps": 125,
        "best_step": 125,
        "best_metric": next(iter(validation.values()))[-1],
        "precision": "fp32",
        "curve": sorted(curve, key=lambda point: point["step"]),
    }


def frozen(trainable: int, total: int, *names: str, trained: dict, **more: object) -> dict:
    """Return the facts of a training on a frozen backbone."""
    return {
        "adapter": None,
        "total_parameters": total,
        "trainable_parameters": trainable,
        "adapter_parameters": max(0, trainable - 770),
        "head_parameters": 770,
        "trainable_percent": 100 * trainable / total,
        "trainable_names": names,
        "backbone_sha256": "b" * 64,
        "warnings": (),
        "outcome": trained,
        **more,
    }


def head_only() -> dict:
    trained = outcome(0.69, accuracy=[0.69, 0.7325])
    return frozen(770, 22_713_986, "classifier.weight", trained=trained)


def teacher(**more: object) -> dict:
    names = ("classifier.weight", "encoder.layer.0.adapter.down.weight")
    trained = outcome(0.58, accuracy=[0.775, 0.8025])
    adapter = {"kind": "houlsby", "bottleneck_size": 64}
    return frozen(598_658, 23_311_874, *names, trained=trained, adapter=adapter) | more


def student(**more: object) -> dict:
    return {
        "start": "absorbed",
        "kept": "trained",
        "total_parameters": 22_713_986,
        "start_validation": {"mean_kl": 0.0183, "agreement": 0.96, "accuracy": 0.79},
        "validation": {"mean_kl": 0.0092, "agreement": 0.975, "accuracy": 0.7975},
        "outcome": outcome(0.031, mean_kl=[0.011, 0.0092], agreement=[0.9725, 0.975]),
        **more,
    }


def absorbed(**more: object) -> dict:
    return {
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
        **more,
    }


def evaluation(**more: object) -> dict:
    def quality(accuracy: float) -> dict:
        return measured(accuracy=accuracy, macro_f1=accuracy - 0.001, calibration_error=0.0442)

    return {
        "texts": 800,
        "confidence": 0.95,
        "plain": quality(0.7238),
        "teacher": quality(0.7950),
        "student": quality(0.7925),
        "fidelity": {
            "values": {"agreement": 0.9725, "mean_kl": 0.0101, "max_abs_logit_difference": 0.81},
            "intervals": {
                "agreement": (0.96, 0.98375),
                "mean_kl": (0.008, 0.013),
                "max_abs_logit_difference": (0.5, 0.81),
            },
        },
        "change": measured(0.0113, accuracy=-0.0025, macro_f1=0.0, calibration_error=0.0056),
        "classes": classes("negative", "positive"),
        "gains": {
            "plain": measured(0.02, accuracy=0.0687),
            "constant": measured(0.03, accuracy=0.2925),
        },
        **more,
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
    logs = {"a_a_arm": 0.001, "teacher": 0.06, "student": -0.001}
    cells = [
        CellLogs(name=cell_name(batch, length), **{arm: log + steps for arm, log in logs.items()})
        for batch, length, _ in CELLS
    ]
    return asdict(decide_overhead(structure, cells, RULES))


def graphs() -> dict:
    plain = ("0df4", 217, 22_713_986, ())
    teacher = ("f41b", 289, 23_311_874, ("layer.0.adapter.down",))
    shapes = {"plain": plain, "teacher": teacher, "student": plain}
    return {
        arm: {
            "hash": digest,
            "sha256": "c" * 64,
            "size_bytes": 4 * parameters + 160_000,
            "operators": {"MatMul": 50, "Add": nodes - 50},
            "parameters": parameters,
            "multiply_adds": 171_197_184,
            "adapter_traces": traces,
        }
        for arm, (digest, nodes, parameters, traces) in shapes.items()
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


def parity() -> list[dict]:
    rows = (
        (model, mask, batch, 16, batch * 1e-6, 1e-4)
        for model in ("plain", "student")
        for mask in ("full", "left")
        for batch in (1, 3, 2)
    )
    return records("model mask batch length max_abs_difference tolerance", *rows)


def benchmark(**more: object) -> dict:
    return {
        "blocks": 6,
        "confidence": 0.95,
        "verdict": verdict(),
        "graphs": graphs(),
        "latency": [row for cell in CELLS for row in latency(*cell)],
        "ladder": ladder(),
        "costs": {arm: cost() for arm in ("plain", "teacher", "student")},
        "machine": {"cpu": "A processor", "cores": "2"},
        "conditions": {
            "load_before": 1.0,
            "load_after": 2.0,
            "steal": 0.01,
            "busy": 0.7,
            "involuntary_switches": 1234,
        },
        **more,
    }


def quantized(metric: str, agreement: str) -> dict:
    """Return variants of a student, of which int8 ships and the fused one is refused."""
    rows = (
        ("fp32", "model.onnx", 91_000_000, 0.0, None, 1.0),
        ("int8", "model_int8.onnx", 23_000_000, 0.0013, None, 0.41),
        ("fused", "model_fused.onnx", 91_000_000, 0.02, "It loses 2.00 points.", None),
    )
    return {
        "texts": 400,
        "confidence": 0.95,
        "chosen": "int8",
        "file": "model_int8.onnx",
        "int8_products": 36,
        "has_vnni": False,
        "fp16_bytes": 46_000_000,
        "fp16_difference": 3e-3,
        "variants": [
            {
                "name": name,
                "file": file,
                "size_bytes": size,
                "cost": measured(0.004, **{metric: cost, agreement: cost}),
                "fidelity": measured(0.006, **{agreement: 0.985 - cost}),
                "refused": refused,
                "cpu_ms": ratio and 9.2 * ratio,
                "cpu_ratio": ratio,
                "cpu_ratio_interval": ratio and (0.98 * ratio, 1.02 * ratio),
            }
            for name, file, size, cost, refused, ratio in rows
        ],
    }
